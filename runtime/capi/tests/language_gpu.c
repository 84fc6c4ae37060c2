// Runs a language model on a GPU as a C program does.

#define DRUPE_GPU
#define DRUPE_LLM
#include "drupe.h"

#include <stdio.h>
#include <string.h>

static int fail(const char *what) {
  printf("%s: %s\n", what, drupe_last_error());
  return 1;
}

typedef struct {
  char text[512];
  size_t length;
} Output;

static bool append(void *user_data, const char *text) {
  Output *output = user_data;
  size_t length = strlen(text);
  if (output->length + length >= sizeof output->text) return false;
  memcpy(output->text + output->length, text, length);
  output->length += length;
  return true;
}

// The most probable text behind a prompt of several chunks.
static int generate(DrupeLanguage *model, Output *output) {
  DrupeGenerateOptions options;
  if (drupe_language_options(model, &options) != DRUPE_STATUS_OK) return fail("options");
  options.max_tokens = 12;
  options.temperature = 0.0f;
  const char *prompt = "a prompt of more tokens than a chunk has";
  if (drupe_language_generate(model, prompt, &options, append, output, NULL) != DRUPE_STATUS_OK) return fail("generate");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  DrupeGpuOptions options = {.adapter = "llvmpipe", .cache = argv[2], .low_priority = true};
  DrupeLanguage *model = drupe_language_open_gpu(argv[1], 1, &options);
  if (model == NULL) return fail("open");
  const char *name = drupe_language_gpu(model);
  printf("llvmpipe %d, why \"%s\"\n", name != NULL && strstr(name, "llvmpipe") != NULL, drupe_language_why_cpu(model));
  Output on_gpu = {0};
  if (generate(model, &on_gpu) != 0) return 1;
  drupe_language_free(model);

  // Without such a GPU it is the CPU, and the text is the same.
  DrupeGpuOptions nobody = {.adapter = "no such device"};
  model = drupe_language_open_gpu(argv[1], 1, &nobody);
  if (model == NULL) return fail("open without a GPU");
  printf("gpu %d, why \"%s\"\n", drupe_language_gpu(model) != NULL, drupe_language_why_cpu(model));
  Output on_cpu = {0};
  if (generate(model, &on_cpu) != 0) return 1;
  drupe_language_free(model);
  printf("%s, the same %d\n", on_gpu.length > 0 ? "some text" : "no text",
         on_gpu.length == on_cpu.length && memcmp(on_gpu.text, on_cpu.text, on_gpu.length) == 0);

  if (drupe_language_open_gpu("no such file", 1, NULL) != NULL || drupe_language_gpu(NULL) != NULL) return 1;
  printf("error %s\n", drupe_last_error());
  return 0;
}
