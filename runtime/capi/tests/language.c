// Runs a language model as a C program does.

#define DRUPE_LLM
#include "drupe.h"

#include <stdio.h>
#include <string.h>

static int fail(const char *what) {
  printf("%s: %s\n", what, drupe_last_error());
  return 1;
}

// Counts the bytes of the output, and ends it after so many pieces.
typedef struct {
  size_t bytes;
  int pieces_left;
} Listener;

static bool listen(void *user_data, const char *text) {
  Listener *listener = user_data;
  listener->bytes += strlen(text);
  return --listener->pieces_left > 0;
}

static bool cancel(void *user_data, const char *text) {
  (void)text;
  drupe_language_cancel(user_data);
  return true;
}

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  if (drupe_language_open("no such file", 1) != NULL) return 1;
  printf("error %s\n", drupe_last_error());
  DrupeLanguage *model = drupe_language_open(argv[1], 1);
  if (model == NULL) return fail("open");
  // Not even the program itself fits.
  if (drupe_language_keep_within(model, 1000) == DRUPE_STATUS_OK) return 1;
  if (strstr(drupe_last_error(), "the budget is 1000") == NULL) return fail("budget");
  if (drupe_language_keep_within(model, 1000000000) != DRUPE_STATUS_OK) return fail("keep within");

  uint32_t tokens[8];
  size_t count = 0;
  if (drupe_language_tokenize(model, "Hi!<|end|>", true, tokens, 8, &count) != DRUPE_STATUS_OK) return fail("tokenize");
  for (size_t at = 0; at < count; at++) printf("%u ", tokens[at]);
  printf("are %zu tokens\n", count);

  DrupeMessage messages[] = {{"system", "be brief"}, {"user", "hello"}};
  char prompt[256];
  size_t length = 0;
  if (drupe_language_chat(model, messages, 2, NULL, 0, &length) != DRUPE_STATUS_OK) return fail("chat");
  if (drupe_language_chat(model, messages, 2, prompt, sizeof prompt, &length) != DRUPE_STATUS_OK) return fail("chat");
  printf("%zu bytes: %s\n", length, prompt);

  DrupeGenerateOptions options;
  if (drupe_language_options(model, &options) != DRUPE_STATUS_OK) return fail("options");
  options.max_tokens = 10;
  options.temperature = 1.0f;
  options.frame = false;
  DrupeGeneration generation;
  Listener listener = {0, 1000};
  for (int turn = 0; turn < 2; turn++) {
    DrupeStatus status = drupe_language_generate(model, prompt, &options, listen, &listener, &generation);
    if (status != DRUPE_STATUS_OK) return fail("generate");
    printf("stop %d after %zu tokens, prompt %zu and %zu known\n", generation.stop, generation.generated_tokens,
           generation.prompt_tokens, generation.reused_tokens);
  }
  if (listener.bytes == 0) return fail("no output");
  drupe_language_generate(model, prompt, &options, cancel, model, &generation);
  printf("stop %d\n", generation.stop);
  options.temperature = -1.0f;
  if (drupe_language_generate(model, prompt, &options, NULL, NULL, NULL) == DRUPE_STATUS_OK) return 1;
  printf("error %s\n", drupe_last_error());
  drupe_language_generate(NULL, prompt, NULL, NULL, NULL, NULL);
  printf("error %s\n", drupe_last_error());
  drupe_language_free(model);
  drupe_language_free(NULL);
  return 0;
}
