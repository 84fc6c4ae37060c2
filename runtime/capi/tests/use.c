// Opens the artifact given, runs it on [1, 2, 3, 4], prints what the Rust test expects.
#include "drupe.h"

#include <stdatomic.h>
#include <stdio.h>
#include <threads.h>
#include <time.h>

// What the callback of a run is given.
typedef struct {
    DrupeSession *session;
    int64_t *shape;
    int calls;
} Chain;

// Prints how the run went, from its thread; starts another the first two times, the second a wrong one.
static void done(void *user_data, DrupeStatus status) {
    Chain *chain = user_data;
    chain->calls++;
    DrupeTensor y;
    if (status != DRUPE_STATUS_OK) {
        printf("run %d status %d: %s\n", chain->calls, (int)status, drupe_last_error());
    } else if (drupe_session_output(chain->session, 0, &y) == DRUPE_STATUS_OK) {
        printf("run %d gives %g\n", chain->calls, ((const float *)y.data)[0]);
    }
    static const float one[1] = {1};
    if (chain->calls == 2) {
        chain->shape[0] = 1;
        drupe_session_set_input(chain->session, 0, chain->shape, 1, one, sizeof one);
    }
    if (chain->calls < 3 && drupe_session_start(chain->session, done, chain) != DRUPE_STATUS_OK) {
        printf("start: %s\n", drupe_last_error());
    }
}

static atomic_bool freed;

// The callback of a run whose session is not needed any more.
static void done_and_free(void *user_data, DrupeStatus status) {
    printf("the last run has status %d\n", (int)status);
    drupe_session_free(user_data);
    atomic_store(&freed, true);
}

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

    Chain chain = {session, shape, 0};
    if (drupe_session_wait(session) != DRUPE_STATUS_OK) return fail("waited for nothing");
    if (drupe_session_start(session, done, &chain) != DRUPE_STATUS_OK) return fail("start");
    while (drupe_session_wait(session) == DRUPE_STATUS_OK) {}
    printf("waited for %d runs: %s\n", chain.calls, drupe_last_error());
    shape[0] = 4;
    if (drupe_session_set_input(session, 0, shape, 1, x, sizeof x) != DRUPE_STATUS_OK) return fail("set");
    if (drupe_session_start(session, NULL, NULL) != DRUPE_STATUS_OK) return fail("start without a callback");
    if (drupe_session_wait(session) != DRUPE_STATUS_OK) return fail("wait");
    // One that is freed while it runs, and one that frees itself.
    DrupeSession *other = drupe_session_new(program, 1);
    if (other == NULL || drupe_session_set_input(other, 0, shape, 1, x, sizeof x) != DRUPE_STATUS_OK) {
        return fail("another session");
    }
    drupe_program_free(program);
    if (drupe_session_start(session, NULL, NULL) != DRUPE_STATUS_OK) return fail("start to be freed");
    drupe_session_free(session);
    drupe_session_free(NULL);
    if (drupe_session_start(other, done_and_free, other) != DRUPE_STATUS_OK) return fail("start to free");
    // The handle may be gone already, so it is not waited for.
    while (!atomic_load(&freed)) thrd_yield();
    return 0;
}
