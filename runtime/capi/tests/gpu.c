// Opens the artifact given, runs it on software Vulkan, prints what the Rust test expects.
#define DRUPE_GPU
#include "drupe.h"

#include <stdio.h>
#include <string.h>

static int fail(const char *what) {
    printf("%s: %s\n", what, drupe_last_error());
    return 1;
}

static void done(void *user_data, DrupeStatus status) {
    *(DrupeStatus *)user_data = status;
}

// Runs the session on 0, 1, 2, ... and prints some of the outputs.
static int run(DrupeSession *session) {
    float x[100];
    int64_t shape[1] = {100};
    for (int index = 0; index < 100; index++) x[index] = (float)index;
    if (drupe_session_set_input(session, 0, shape, 1, x, sizeof x) != DRUPE_STATUS_OK) return fail("set");
    DrupeStatus status = DRUPE_STATUS_PANIC;
    if (drupe_session_start(session, done, &status) != DRUPE_STATUS_OK) return fail("start");
    if (drupe_session_wait(session) != DRUPE_STATUS_OK) return fail("wait");
    DrupeTensor y;
    if (drupe_session_output(session, 0, &y) != DRUPE_STATUS_OK) return fail("output");
    const float *values = y.data;
    printf("status %d: %g %g %g %g\n", (int)status, values[0], values[1], values[63], values[99]);
    return 0;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    DrupeProgram *program = drupe_program_open(arguments[1]);
    if (program == NULL) return fail("open");

    // By its name, with a cache, and without waiting to give it work; the second start takes what is cached.
    DrupeGpuOptions options = {.adapter = "llvmpipe", .cache = arguments[2], .dispatches_per_submit = 1};
    for (int round = 0; round < 2; round++) {
        DrupeSession *session = drupe_session_new_gpu(program, 1, &options);
        if (session == NULL) return fail("session");
        const char *name = drupe_session_gpu(session);
        if (name == NULL) {
            printf("not on the GPU: %s\n", drupe_session_why_cpu(session));
            return 1;
        }
        printf("llvmpipe %d, why \"%s\"\n", strstr(name, "llvmpipe") != NULL, drupe_session_why_cpu(session));
        if (run(session) != 0) return 1;
        drupe_session_free(session);
    }

    // Any software.
    DrupeGpuOptions software = {.software = true, .time_limit_ms = 30000};
    DrupeSession *session = drupe_session_new_gpu(program, 0, &software);
    if (session == NULL) return fail("session on software");
    printf("software %d\n", drupe_session_gpu(session) != NULL);
    if (run(session) != 0) return 1;
    drupe_session_free(session);

    // One that there is not.
    DrupeGpuOptions nobody = {.adapter = "no such device"};
    session = drupe_session_new_gpu(program, 1, &nobody);
    if (session == NULL) return fail("session without a GPU");
    printf("gpu %d, why \"%s\"\n", drupe_session_gpu(session) != NULL, drupe_session_why_cpu(session));
    if (run(session) != 0) return 1;
    drupe_session_free(session);

    // Errors.
    DrupeGpuOptions nonsense = {.adapter = "\xff"};
    if (drupe_session_new_gpu(program, 1, &nonsense) != NULL) return fail("took nonsense");
    printf("error %s\n", drupe_last_error());
    if (drupe_session_new_gpu(NULL, 1, NULL) != NULL || drupe_session_gpu(NULL) != NULL) return fail("null");
    printf("error %s\n", drupe_last_error());
    drupe_program_free(program);
    return 0;
}
