// Runs the steps of a job file over its buffers, for an emulated processor: see job.rs for the format.
// Usage: harness IMAGE JOB OUTPUT
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef void kernel(uint8_t **buffers, const int64_t *dims, uint8_t *scratch, int64_t begin, int64_t end);

static void fail(const char *what) {
    fprintf(stderr, "harness: %s\n", what);
    exit(1);
}

static uint8_t *read_all(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    *size = ftell(file);
    rewind(file);
    uint8_t *bytes = aligned_alloc(64, (*size + 63) / 64 * 64 + 64);
    if (!bytes || fread(bytes, 1, *size, file) != *size) fail("short read");
    fclose(file);
    return bytes;
}

static const uint8_t *at;

static int64_t next(void) {
    int64_t value;
    memcpy(&value, at, 8);
    at += 8;
    return value;
}

int main(int argc, char **argv) {
    if (argc != 4) fail("usage: harness IMAGE JOB OUTPUT");
    size_t image_size, job_size;
    uint8_t *image = read_all(argv[1], &image_size);
    uint8_t *code = mmap(0, image_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) fail("mmap");
    memcpy(code, image, image_size);
    if (mprotect(code, image_size, PROT_READ | PROT_EXEC)) fail("mprotect");
    __builtin___clear_cache((char *)code, (char *)code + image_size);
    at = read_all(argv[2], &job_size);
    int64_t buffer_count = next();
    uint8_t **buffers = calloc(buffer_count, sizeof *buffers);
    int64_t *sizes = calloc(buffer_count, sizeof *sizes);
    for (int64_t i = 0; i < buffer_count; i++) {
        sizes[i] = next();
        int64_t given = next();
        buffers[i] = aligned_alloc(64, (sizes[i] + 63) / 64 * 64 + 64);
        // What nobody has written is NaN.
        memset(buffers[i], 0xff, sizes[i]);
        memcpy(buffers[i], at, given);
        at += given;
    }
    for (int64_t steps = next(); steps > 0; steps--) {
        kernel *run = (kernel *)(code + next());
        int64_t tasks = next(), args = next(), dims = next();
        uint8_t *pointers[64];
        int64_t numbers[256];
        if (args > 64 || dims > 256) fail("too many arguments");
        for (int64_t i = 0; i < args; i++) {
            int64_t buffer = next();
            pointers[i] = buffers[buffer] + next();
        }
        for (int64_t i = 0; i < dims; i++) numbers[i] = next();
        run(pointers, numbers, 0, 0, tasks);
    }
    FILE *output = fopen(argv[3], "wb");
    if (!output) fail(argv[3]);
    for (int64_t outputs = next(); outputs > 0; outputs--) {
        int64_t buffer = next(), size = next();
        fwrite(buffers[buffer], 1, size, output);
    }
    return fclose(output) ? 1 : 0;
}
