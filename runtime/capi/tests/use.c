// Opens the artifact given, runs it on [1, 2, 3, 4], prints what the Rust test expects.
#include "drupe.h"

#include <stdio.h>

static int fail(const char *what) {
    printf("%s: %s\n", what, drupe_last_error());
    return 1;
}

int main(int count, char **arguments) {
    if (count != 2) return 2;
    printf("version %s\n", drupe_version());

    if (drupe_program_open("no such file") != NULL) return fail("opened nothing");
    printf("error %s\n", drupe_last_error());
    if (drupe_session_run(NULL) != DRUPE_STATUS_INVALID_ARGUMENT) return fail("ran nothing");

    DrupeProgram *program = drupe_program_open(arguments[1]);
    if (program == NULL) return fail("open");
    DrupePort port;
    for (size_t index = 0; index < drupe_program_input_count(program); index++) {
        if (drupe_program_input(program, index, &port) != DRUPE_STATUS_OK) return fail("input");
        printf("input %s type %d rank %zu size %lld\n", port.name, (int)port.dtype, port.rank,
               (long long)port.shape[0]);
    }
    if (drupe_program_output(program, 7, &port) != DRUPE_STATUS_INVALID_ARGUMENT) return fail("output 7");
    printf("error %s\n", drupe_last_error());

    DrupeSession *session = drupe_session_new(program, 2);
    if (session == NULL) return fail("session");
    drupe_program_free(program);

    float x[4] = {1, 2, 3, 4};
    int64_t shape[1] = {4};
    if (drupe_session_run(session) != DRUPE_STATUS_INPUT) return fail("ran without input");
    printf("error %s\n", drupe_last_error());
    if (drupe_session_set_input(session, 0, shape, 1, x, sizeof x) != DRUPE_STATUS_OK) return fail("set");
    for (int round = 0; round < 2; round++) {
        if (drupe_session_run(session) != DRUPE_STATUS_OK) return fail("run");
        DrupeTensor y;
        if (drupe_session_output(session, 0, &y) != DRUPE_STATUS_OK) return fail("output");
        const float *values = y.data;
        printf("output type %d rank %zu size %lld:", (int)y.dtype, y.rank, (long long)y.shape[0]);
        for (int64_t index = 0; index < y.shape[0]; index++) printf(" %g", values[index]);
        printf("\n");
        x[0] = 100;
    }
    drupe_session_free(session);
    drupe_session_free(NULL);
    return 0;
}
