// The C interface of the drupe runtime. Made by cbindgen from the crate drupe-capi; do not edit.

#ifndef DRUPE_H
#define DRUPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// What a function says about its success.
typedef enum {
  // It did what it should.
  DRUPE_STATUS_OK = 0,
  // A null pointer, an index out of range, or a call out of order.
  DRUPE_STATUS_INVALID_ARGUMENT = 1,
  // The artifact cannot be used.
  DRUPE_STATUS_LOAD = 2,
  // An input is missing or does not fit the model.
  DRUPE_STATUS_INPUT = 3,
  // Memory is short.
  DRUPE_STATUS_MEMORY = 4,
  // The model could not be run.
  DRUPE_STATUS_RUN = 5,
  // The runtime has a bug; the handle involved must only be freed.
  DRUPE_STATUS_PANIC = 6,
} DrupeStatus;

#if defined(DRUPE_LLM)
// Why an output ended.
typedef enum {
#if defined(DRUPE_LLM)
  // The model ended it.
  DRUPE_STOP_END = 0,
#endif
#if defined(DRUPE_LLM)
  // It came to the stop text.
  DRUPE_STOP_TEXT = 1,
#endif
#if defined(DRUPE_LLM)
  // It has as many tokens as it may have.
  DRUPE_STOP_MAX_TOKENS = 2,
#endif
#if defined(DRUPE_LLM)
  // The context is full.
  DRUPE_STOP_CONTEXT_FULL = 3,
#endif
#if defined(DRUPE_LLM)
  // It was cancelled.
  DRUPE_STOP_CANCELLED = 4,
#endif
} DrupeStop;
#endif

// The type of a tensor's elements.
typedef enum {
  // IEEE 754 binary32.
  DRUPE_TYPE_F32 = 0,
  // IEEE 754 binary16.
  DRUPE_TYPE_F16 = 1,
  // The upper half of a binary32.
  DRUPE_TYPE_BF16 = 2,
  // IEEE 754 binary64.
  DRUPE_TYPE_F64 = 3,
  // int8_t
  DRUPE_TYPE_I8 = 4,
  // uint8_t
  DRUPE_TYPE_U8 = 5,
  // int16_t
  DRUPE_TYPE_I16 = 6,
  // uint16_t
  DRUPE_TYPE_U16 = 7,
  // int32_t
  DRUPE_TYPE_I32 = 8,
  // uint32_t
  DRUPE_TYPE_U32 = 9,
  // int64_t
  DRUPE_TYPE_I64 = 10,
  // uint64_t
  DRUPE_TYPE_U64 = 11,
  // One byte, 0 or 1.
  DRUPE_TYPE_BOOL = 12,
} DrupeType;

#if defined(DRUPE_LLM)
// A language model with its threads, and what it has read. Threads may share it; they take turns.
typedef struct DrupeLanguage DrupeLanguage;
#endif

// A verified artifact. Threads may share it.
typedef struct DrupeProgram DrupeProgram;

// Runs a program with its own memory and threads, one run at a time. Threads may share it; while it
// runs, only waiting for it and freeing it are no error.
typedef struct DrupeSession DrupeSession;

#if defined(DRUPE_GPU)
// How to choose and use a GPU. All zero is the usual.
typedef struct {
  // Part of the name of the GPU to use (UTF-8); null for the best.
  const char *adapter;
  // A folder (UTF-8), of this user alone, for compiled shaders, so that the next start is faster; null to keep
  // nothing. It is made when missing. What is there is trusted like the artifact.
  const char *cache;
  // The longest wait for the GPU in milliseconds; 0 for 60000.
  uint32_t time_limit_ms;
  // Dispatches after which work is given to the GPU even if nothing waits for it; 0 for as late as possible.
  // Small numbers, as 8, leave gaps for others who use the GPU, such as a phone's screen.
  uint32_t dispatches_per_submit;
  // Whether all others who use the GPU go first, if it has queues of such priority.
  bool low_priority;
  // Whether software that acts as a GPU may be used though it is not named.
  bool software;
} DrupeGpuOptions;
#endif

#if defined(DRUPE_LLM)
// How to generate; `drupe_language_options` fills it in.
typedef struct {
  // Tokens at most; 0 for as many as fit the context.
  size_t max_tokens;
  // What logits are divided by; 0 takes the most probable token.
  float temperature;
  // Tokens to choose from; 0 for all.
  size_t top_k;
  // The share of probability to choose from.
  float top_p;
  // The least probability, as a part of the greatest.
  float min_p;
  // Divides the logits of tokens that are there already; 1 for none.
  float repetition_penalty;
  // Where random numbers start.
  uint64_t seed;
  // A text that ends the output (UTF-8); null for none.
  const char *stop;
  // Whether the prompt gets the tokens that the model wants around a text: not if `drupe_language_chat` made it.
  bool frame;
} DrupeGenerateOptions;
#endif

#if defined(DRUPE_LLM)
// What somebody says (UTF-8).
typedef struct {
  // Who: `system`, `user` or `assistant`.
  const char *role;
  // What.
  const char *content;
} DrupeMessage;
#endif

#if defined(DRUPE_LLM)
// Gets a piece of the output (UTF-8, whole characters), which is valid during the call; returns whether to go on.
typedef bool (*DrupeText)(void *user_data, const char *text);
#endif

#if defined(DRUPE_LLM)
// What a generation was.
typedef struct {
  // Why it ended.
  DrupeStop stop;
  // Tokens of the prompt that were read.
  size_t prompt_tokens;
  // Tokens of the prompt that were known already.
  size_t reused_tokens;
  // Tokens generated.
  size_t generated_tokens;
  // Tokens of the prompt read in a second.
  double prompt_rate;
  // Tokens after the first generated in a second.
  double generation_rate;
  // From the start to the first token, in seconds.
  double first_token;
} DrupeGeneration;
#endif

// An input or output of a program. Its pointers live as long as the program's handle.
typedef struct {
  // Its name.
  const char *name;
  // Its element type.
  DrupeType dtype;
  // Number of dimensions.
  size_t rank;
  // The dimensions, outermost first; -1 where the size is decided by the inputs.
  const int64_t *shape;
} DrupePort;

// What is called when a run is done: with the caller's pointer, and what `drupe_session_run` would have
// returned. `drupe_last_error` then says in it what went wrong.
typedef void (*DrupeDone)(void *user_data, DrupeStatus status);

// A dense, row-major tensor.
typedef struct {
  // Its element type.
  DrupeType dtype;
  // Number of dimensions.
  size_t rank;
  // The dimensions, outermost first.
  const int64_t *shape;
  // The elements.
  const void *data;
  // Bytes of the elements.
  size_t bytes;
} DrupeTensor;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

#if defined(DRUPE_GPU)
// Makes a session on the best GPU that `options` allow and the artifact has a plan for, otherwise on the CPU:
// see `drupe_session_gpu`. `options` may be null for the usual; `threads` are for the steps that the CPU does, as
// for `drupe_session_new`. Null on failure.
//
// # Safety
// `program` is null or a live handle, `options` null or the address of options whose texts are null or
// NUL-terminated.
DrupeSession *drupe_session_new_gpu(const DrupeProgram *program,
                                    size_t threads,
                                    const DrupeGpuOptions *options);
#endif

#if defined(DRUPE_GPU)
// The name of the GPU that the session runs on; null if it runs on the CPU. Lives as long as the session.
//
// # Safety
// `session` is null or a live handle.
const char *drupe_session_gpu(const DrupeSession *session);
#endif

#if defined(DRUPE_GPU)
// Why the session runs on the CPU: for every plan that the artifact has for a GPU the reason why it cannot run
// here. An empty text if it runs on a GPU; null for null. Lives as long as the session.
//
// # Safety
// `session` is null or a live handle.
const char *drupe_session_why_cpu(const DrupeSession *session);
#endif

#if defined(DRUPE_LLM)
// Maps and verifies the artifact of a language model at a path (UTF-8), as `drupe_program_open` does, and makes
// `threads` threads for it, the calling one included; 0 for one a core. Null on failure.
//
// # Safety
// `path` is null or a NUL-terminated string.
DrupeLanguage *drupe_language_open(const char *path,
                                   size_t threads);
#endif

#if defined(DRUPE_LLM)
// Keeps the process within `budget` bytes of memory, as far as it is this model's: weights that do not fit are read
// anew for every chunk and every token, ahead of the steps that need them. To be called once, before anything is
// generated. What the process holds besides is known on Linux and Android only; elsewhere leave room for it.
//
// # Safety
// `language` is null or a live handle.
DrupeStatus drupe_language_keep_within(const DrupeLanguage *language,
                                       uint64_t budget);
#endif

#if defined(DRUPE_LLM)
// Frees a language model. Null is ignored.
//
// # Safety
// `language` is null or a handle that is not used again, and nothing is being generated.
void drupe_language_free(DrupeLanguage *language);
#endif

#if defined(DRUPE_LLM)
// Fills in options as the model's makers have them.
//
// # Safety
// `language` is null or a live handle, `options` null or the address of a `DrupeGenerateOptions`.
DrupeStatus drupe_language_options(const DrupeLanguage *language, DrupeGenerateOptions *options);
#endif

#if defined(DRUPE_LLM)
// The tokens of a text (UTF-8); with `frame` those too that the model wants around one. `count` becomes their number,
// and the first `capacity` of them go to `tokens`, which may be null if that is 0.
//
// # Safety
// `language` is null or a live handle, `input` null or a NUL-terminated string, `tokens` points to `capacity`
// numbers, `count` is null or the address of a number.
DrupeStatus drupe_language_tokenize(const DrupeLanguage *language,
                                    const char *input,
                                    bool frame,
                                    uint32_t *tokens,
                                    size_t capacity,
                                    size_t *count);
#endif

#if defined(DRUPE_LLM)
// The prompt that the model's chat template makes of a conversation, ending where its answer starts. `length` becomes
// its bytes without the NUL behind them, and if both fit `capacity`, the text goes to `prompt`, which may be null if that
// is 0.
//
// # Safety
// `language` is null or a live handle, `messages` points to `count` messages whose texts are NUL-terminated, `prompt`
// to `capacity` bytes, `length` is null or the address of a number.
DrupeStatus drupe_language_chat(const DrupeLanguage *language,
                                const DrupeMessage *messages,
                                size_t count,
                                char *prompt,
                                size_t capacity,
                                size_t *length);
#endif

#if defined(DRUPE_LLM)
// Continues a prompt (UTF-8), and calls `on_text`, if it is not null, with `user_data` and the output, piece by piece, on
// this thread. Tokens that the prompt starts with and that were read before are not read again. `options` may be null
// for the usual, `generation` if it is not wanted.
//
// # Safety
// `language` is null or a live handle, `prompt` null or a NUL-terminated string, `options` null or the address of
// options whose text is null or NUL-terminated, `generation` null or the address of a `DrupeGeneration`.
DrupeStatus drupe_language_generate(const DrupeLanguage *language,
                                    const char *prompt,
                                    const DrupeGenerateOptions *options,
                                    DrupeText on_text,
                                    void *user_data,
                                    DrupeGeneration *generation);
#endif

#if defined(DRUPE_LLM)
// Ends the generation that is going on after the token it is at, or the next one if there is none. Any thread may call
// it, and the callback.
//
// # Safety
// `language` is null or a live handle.
DrupeStatus drupe_language_cancel(const DrupeLanguage *language);
#endif

#if (defined(DRUPE_GPU) && defined(DRUPE_LLM))
// `drupe_language_open` with everything on the best GPU that `options` allow and the artifact has plans for, what was
// read included; otherwise on the CPU: see `drupe_language_gpu`. `options` may be null for the usual; `threads` are for
// the steps that the CPU does. Null on failure.
//
// # Safety
// `path` is null or a NUL-terminated string, `options` null or the address of options whose texts are null or
// NUL-terminated.
DrupeLanguage *drupe_language_open_gpu(const char *path,
                                       size_t threads,
                                       const DrupeGpuOptions *options);
#endif

#if (defined(DRUPE_GPU) && defined(DRUPE_LLM))
// The name of the GPU that the model runs on; null if it runs on the CPU. Lives as long as the model.
//
// # Safety
// `language` is null or a live handle.
const char *drupe_language_gpu(const DrupeLanguage *language);
#endif

#if (defined(DRUPE_GPU) && defined(DRUPE_LLM))
// Why the model runs on the CPU, as for `drupe_session_why_cpu`. Lives as long as the model.
//
// # Safety
// `language` is null or a live handle.
const char *drupe_language_why_cpu(const DrupeLanguage *language);
#endif

// Maps and verifies the artifact at a path (UTF-8). Null on failure.
//
// The file must come from where you would load a library: it is code. It must not be changed
// while the program lives; replace files by renaming.
//
// # Safety
// `path` is null or a NUL-terminated string.
DrupeProgram *drupe_program_open(const char *path);

// Verifies and copies an artifact in memory. Null on failure.
//
// # Safety
// `data` is null or points to `len` bytes.
DrupeProgram *drupe_program_from_bytes(const void *data, size_t len);

// Frees a program; its sessions stay usable. Null is ignored.
//
// # Safety
// `program` is null or a handle that is not used again.
void drupe_program_free(DrupeProgram *program);

// The number of inputs; 0 for null.
//
// # Safety
// `program` is null or a live handle.
size_t drupe_program_input_count(const DrupeProgram *program);

// The number of outputs; 0 for null.
//
// # Safety
// `program` is null or a live handle.
size_t drupe_program_output_count(const DrupeProgram *program);

// Describes an input.
//
// # Safety
// `program` is null or a live handle, `port` null or the address of a `DrupePort`.
DrupeStatus drupe_program_input(const DrupeProgram *program, size_t index, DrupePort *port);

// Describes an output.
//
// # Safety
// `program` is null or a live handle, `port` null or the address of a `DrupePort`.
DrupeStatus drupe_program_output(const DrupeProgram *program, size_t index, DrupePort *port);

// Makes a session with `threads` threads, the calling one included; 0 for one a core. Null on
// failure.
//
// # Safety
// `program` is null or a live handle.
DrupeSession *drupe_session_new(const DrupeProgram *program, size_t threads);

// Frees a session and its memory; waits for a run that was started, as `drupe_session_wait` does. Null is
// ignored.
//
// # Safety
// `session` is null or a handle that is not used again.
void drupe_session_free(DrupeSession *session);

// Sets an input to the caller's tensor, which is not copied: `data` must live and keep its value
// until the last run that uses it, and be aligned to its elements. It stays set for later runs.
//
// # Safety
// `session` is null or a live handle, `shape` points to `rank` numbers and `data` to `bytes` bytes.
DrupeStatus drupe_session_set_input(DrupeSession *session,
                                    size_t index,
                                    const int64_t *shape,
                                    size_t rank,
                                    const void *data,
                                    size_t bytes);

// Runs the program on the inputs set. The outputs of the run before become invalid.
//
// # Safety
// `session` is null or a live handle, and all inputs set are still alive.
DrupeStatus drupe_session_run(DrupeSession *session);

// Starts a run on the inputs set, on a thread of its own, and returns. The outputs of the run before
// become invalid. When it is done, `done`, if it is not null, is called with `user_data` on that thread; it may use
// the session: read outputs, start the next run, free it.
//
// What this returns is whether the run has started; if it has not, `done` is not called.
//
// # Safety
// `session` is null or a live handle, all inputs set live until the run is done, and `done` may be called
// with `user_data` on another thread.
DrupeStatus drupe_session_start(DrupeSession *session,
                                DrupeDone done,
                                void *user_data);

// Waits for the run that was started last, and until its callback has returned; within a callback only for
// the run. Returns what `drupe_session_run` would have returned.
//
// # Safety
// `session` is null or a live handle.
DrupeStatus drupe_session_wait(DrupeSession *session);

// The value of an output after a successful run. It lies in the session and is valid until the
// next run.
//
// # Safety
// `session` is null or a live handle, `tensor` null or the address of a `DrupeTensor`.
DrupeStatus drupe_session_output(DrupeSession *session, size_t index, DrupeTensor *tensor);

// Why the last function that failed on this thread did; an empty text if none has. Valid until
// the next one fails on this thread.
const char *drupe_last_error(void);

// The runtime's version, e.g. `0.1.0`; lives forever.
const char *drupe_version(void);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DRUPE_H */
