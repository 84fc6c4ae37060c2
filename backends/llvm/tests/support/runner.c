// Maps an image and makes the calls of a job file (see qemu.rs); writes every buffer back.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef void kernel(uint8_t **buffers, const int64_t *dims, uint8_t *scratch, int64_t begin, int64_t end);

static FILE *job;

static void read_octets(void *into, size_t count) {
  if (fread(into, 1, count, job) != count) exit(2);
}

static uint64_t number(void) {
  uint64_t value;
  read_octets(&value, 8);
  return value;
}

int main(int count, char **arguments) {
  if (count != 3 || !(job = fopen(arguments[1], "rb"))) return 1;
  FILE *result = fopen(arguments[2], "wb");
  size_t size = number();
  uint8_t *image = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  read_octets(image, size);
  __builtin___clear_cache((char *)image, (char *)image + size);
  if (mprotect(image, size, PROT_READ | PROT_EXEC)) return 1;
  for (uint64_t calls = number(); calls > 0; calls--) {
    kernel *entry = (kernel *)(image + number());
    int64_t tasks = number();
    uint64_t dim_count = number();
    int64_t *dims = calloc(dim_count + 1, 8);
    for (uint64_t dim = 0; dim < dim_count; dim++) dims[dim] = number();
    uint64_t buffer_count = number();
    uint8_t **buffers = calloc(buffer_count + 1, sizeof *buffers);
    size_t *sizes = calloc(buffer_count + 1, sizeof *sizes);
    for (uint64_t buffer = 0; buffer < buffer_count; buffer++) {
      sizes[buffer] = number();
      buffers[buffer] = malloc(sizes[buffer]);
      read_octets(buffers[buffer], sizes[buffer]);
    }
    entry(buffers, dims, 0, 0, tasks);
    for (uint64_t buffer = 0; buffer < buffer_count; buffer++) {
      fwrite(buffers[buffer], 1, sizes[buffer], result);
      free(buffers[buffer]);
    }
    free(buffers), free(sizes), free(dims);
  }
  return fclose(result) != 0;
}
