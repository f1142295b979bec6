/* fleetfront-runner: times one .tflite file on a Linux target with the LiteRT C library, raw nanoseconds a run.
 *
 * Usage: fleetfront-runner LIBRARY MODEL THREADS MASK WARM TIMED
 *        fleetfront-runner LIBRARY, which only loads the library and prints "fleetfront-runner/1 ready"
 *   LIBRARY  path of libLiteRt.so
 *   MASK     hexadecimal CPU mask, or 0 to leave the affinity as it is
 *   WARM     runs before timing, TIMED runs that are reported
 *
 * Prints one line on stdout and nothing else:
 *   fleetfront-runner/1 open_ns=N first_ns=N mask=HEX peak_kb=N wall_ns=N,N,.. cpu_ns=N,N,..
 * or, with exit status 1:
 *   fleetfront-runner/1 error=TEXT
 *
 * The wheel that carries the library has no headers. The few types and functions used here are declared below from the
 * library's documented C interface; a library whose version was not tested is refused before this program is started.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define MAX_RANK 8
#define MAX_TENSORS 16
#define MAX_RUNS 100000
#define CPU_ACCELERATOR 1
#define LOCK_FOR_WRITING 1
#define LOG_ERRORS_ONLY 3
#define TAG_MIN_LOGGER_SEVERITY 25

typedef int Status;
typedef struct Opaque *Handle;

typedef struct {
  unsigned int rank : 7;
  bool has_strides : 1;
  int32_t dimensions[MAX_RANK];
  uint32_t strides[MAX_RANK];
} Layout;

enum { ELEMENT_FLOAT32 = 1 };

typedef struct {
  int element_type;
  Layout layout;
} TensorType;

typedef struct {
  Status (*create_environment)(int, const void *, Handle *);
  Status (*create_model_from_file)(Handle, const char *, Handle *);
  Status (*create_options)(Handle *);
  Status (*set_accelerators)(Handle, int);
  Status (*create_opaque_options)(const char *, void *, void (*)(void *), Handle *);
  Status (*add_opaque_options)(Handle, Handle);
  Status (*create_compiled_model)(Handle, Handle, Handle, Handle *);
  Status (*get_signature)(Handle, size_t, Handle *);
  Status (*num_inputs)(Handle, size_t *);
  Status (*num_outputs)(Handle, size_t *);
  Status (*input_tensor)(Handle, size_t, Handle *);
  Status (*output_tensor)(Handle, size_t, Handle *);
  Status (*tensor_type)(Handle, TensorType *);
  Status (*input_requirements)(Handle, size_t, size_t, Handle *);
  Status (*output_requirements)(Handle, size_t, size_t, Handle *);
  Status (*create_buffer)(Handle, const TensorType *, Handle, Handle *);
  Status (*buffer_size)(Handle, size_t *);
  Status (*lock_buffer)(Handle, void **, int);
  Status (*unlock_buffer)(Handle);
  Status (*run)(Handle, size_t, size_t, Handle *, size_t, Handle *);
} Library;

static _Noreturn void fail(const char *format, ...) {
  va_list arguments;
  printf("fleetfront-runner/1 error=");
  va_start(arguments, format);
  vprintf(format, arguments);
  va_end(arguments);
  printf("\n");
  fflush(stdout);
  _Exit(1);
}

static void check(Status status, const char *what) {
  if (status != 0) fail("%s failed with LiteRT status %d", what, status);
}

static int64_t now_ns(clockid_t clock) {
  struct timespec time;
  if (clock_gettime(clock, &time) != 0) fail("clock %d cannot be read", (int)clock);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static int64_t elapsed_ns(int64_t begun, clockid_t clock) {
  int64_t elapsed = now_ns(clock) - begun;
  if (elapsed < 0) fail("clock %d went backwards by %lld ns", (int)clock, (long long)-elapsed);
  return elapsed;
}

static void *symbol(void *library, const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) fail("the library has no %s", name);
  return found;
}

static Library load(const char *path) {
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  Library loaded;
  if (library == NULL) fail("the library cannot be loaded: %s", dlerror());
  /* POSIX guarantees that a function pointer survives this assignment; ISO C does not, hence the object casts. */
#define BIND(field, name) *(void **)&loaded.field = symbol(library, name)
  BIND(create_environment, "LiteRtCreateEnvironment");
  BIND(create_model_from_file, "LiteRtCreateModelFromFile");
  BIND(create_options, "LiteRtCreateOptions");
  BIND(set_accelerators, "LiteRtSetOptionsHardwareAccelerators");
  BIND(create_opaque_options, "LiteRtCreateOpaqueOptions");
  BIND(add_opaque_options, "LiteRtAddOpaqueOptions");
  BIND(create_compiled_model, "LiteRtCreateCompiledModel");
  BIND(get_signature, "LiteRtGetModelSignature");
  BIND(num_inputs, "LiteRtGetNumSignatureInputs");
  BIND(num_outputs, "LiteRtGetNumSignatureOutputs");
  BIND(input_tensor, "LiteRtGetSignatureInputTensorByIndex");
  BIND(output_tensor, "LiteRtGetSignatureOutputTensorByIndex");
  BIND(tensor_type, "LiteRtGetRankedTensorType");
  BIND(input_requirements, "LiteRtGetCompiledModelInputBufferRequirements");
  BIND(output_requirements, "LiteRtGetCompiledModelOutputBufferRequirements");
  BIND(create_buffer, "LiteRtCreateManagedTensorBufferFromRequirements");
  BIND(buffer_size, "LiteRtGetTensorBufferSize");
  BIND(lock_buffer, "LiteRtLockTensorBuffer");
  BIND(unlock_buffer, "LiteRtUnlockTensorBuffer");
  BIND(run, "LiteRtRunCompiledModel");
#undef BIND
  return loaded;
}

static void pin(const char *hexadecimal) {
  uint64_t mask = strtoull(hexadecimal, NULL, 16);
  cpu_set_t set;
  if (mask == 0) return;
  CPU_ZERO(&set);
  for (int cpu = 0; cpu < 64; cpu++)
    if (mask >> cpu & 1) CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) != 0) fail("the CPU mask %s was refused", hexadecimal);
}

static uint64_t effective_mask(void) {
  cpu_set_t set;
  uint64_t mask = 0;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 0;
  for (int cpu = 0; cpu < 64; cpu++)
    if (CPU_ISSET(cpu, &set)) mask |= (uint64_t)1 << cpu;
  return mask;
}

static void keep(void *payload) { (void)payload; }

static Handle cpu_options(const Library *lib, int threads) {
  static char text[64];
  Handle options, cpu;
  snprintf(text, sizeof text, "num_threads = %d\n", threads);
  check(lib->create_options(&options), "LiteRtCreateOptions");
  check(lib->set_accelerators(options, CPU_ACCELERATOR), "LiteRtSetOptionsHardwareAccelerators");
  check(lib->create_opaque_options("xnnpack", text, keep, &cpu), "LiteRtCreateOpaqueOptions");
  check(lib->add_opaque_options(options, cpu), "LiteRtAddOpaqueOptions");
  return options;
}

/* Floats in [-1, 1); everything else zero, which is a valid index, token and quantised value. */
static void fill(const Library *lib, Handle buffer, int element_type) {
  void *address;
  size_t size;
  uint32_t state = 1;
  check(lib->buffer_size(buffer, &size), "LiteRtGetTensorBufferSize");
  check(lib->lock_buffer(buffer, &address, LOCK_FOR_WRITING), "LiteRtLockTensorBuffer");
  memset(address, 0, size);
  if (element_type == ELEMENT_FLOAT32)
    for (size_t i = 0; i < size / sizeof(float); i++) {
      state = state * 1664525u + 1013904223u;
      ((float *)address)[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
  check(lib->unlock_buffer(buffer), "LiteRtUnlockTensorBuffer");
}

static size_t buffers(const Library *lib, Handle environment, Handle signature, Handle compiled, bool inputs,
                      Handle *found) {
  size_t count;
  check((inputs ? lib->num_inputs : lib->num_outputs)(signature, &count), "LiteRtGetNumSignatureInputs/Outputs");
  if (count > MAX_TENSORS) fail("the model has %zu inputs or outputs, more than %d", count, MAX_TENSORS);
  for (size_t i = 0; i < count; i++) {
    Handle tensor, requirements;
    TensorType type;
    check((inputs ? lib->input_tensor : lib->output_tensor)(signature, i, &tensor), "LiteRtGetSignature..TensorByIndex");
    check(lib->tensor_type(tensor, &type), "LiteRtGetRankedTensorType");
    check((inputs ? lib->input_requirements : lib->output_requirements)(compiled, 0, i, &requirements),
          "LiteRtGetCompiledModel..BufferRequirements");
    check(lib->create_buffer(environment, &type, requirements, &found[i]),
          "LiteRtCreateManagedTensorBufferFromRequirements");
    if (inputs) fill(lib, found[i], type.element_type);
  }
  return count;
}

static void print_series(const char *name, const int64_t *values, int count) {
  printf(" %s=", name);
  for (int i = 0; i < count; i++) printf(i ? ",%lld" : "%lld", (long long)values[i]);
}

static Handle quiet_environment(const Library *lib) {
  struct {
    int tag;
    struct {
      int type;
      union {
        int64_t integer;
        void *pointer;
      } value;
    } any;
  } option = {TAG_MIN_LOGGER_SEVERITY, {2, {LOG_ERRORS_ONLY}}};
  Handle environment;
  check(lib->create_environment(1, &option, &environment), "LiteRtCreateEnvironment");
  return environment;
}

static int count(const char *text, int least, const char *name) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*text == '\0' || *end != '\0' || value < least || value > MAX_RUNS) fail("%s is %s", name, text);
  return (int)value;
}

int main(int argc, char **argv) {
  if (argc == 2) {
    load(argv[1]);
    printf("fleetfront-runner/1 ready\n");
    fflush(stdout);
    _Exit(0);
  }
  if (argc != 7) fail("usage: fleetfront-runner LIBRARY [MODEL THREADS MASK WARM TIMED]");
  const int threads = count(argv[3], 1, "THREADS"), warm = count(argv[5], 1, "WARM"), timed = count(argv[6], 1, "TIMED");
  pin(argv[4]);
  const Library lib = load(argv[1]);
  Handle environment = quiet_environment(&lib), model, compiled, signature, inputs[MAX_TENSORS], outputs[MAX_TENSORS];

  const int64_t opened = now_ns(CLOCK_MONOTONIC);
  check(lib.create_model_from_file(environment, argv[2], &model), "LiteRtCreateModelFromFile");
  check(lib.create_compiled_model(environment, model, cpu_options(&lib, threads), &compiled),
        "LiteRtCreateCompiledModel");
  check(lib.get_signature(model, 0, &signature), "LiteRtGetModelSignature");
  const size_t num_inputs = buffers(&lib, environment, signature, compiled, true, inputs);
  const size_t num_outputs = buffers(&lib, environment, signature, compiled, false, outputs);
  const int64_t open_ns = elapsed_ns(opened, CLOCK_MONOTONIC);

  int64_t *wall = calloc((size_t)timed, sizeof *wall), *cpu = calloc((size_t)timed, sizeof *cpu), first_ns = 0;
  if (wall == NULL || cpu == NULL) fail("out of memory for %d samples", timed);
  for (int i = -warm; i < timed; i++) {
    const int64_t cpu_begun = now_ns(CLOCK_THREAD_CPUTIME_ID), begun = now_ns(CLOCK_MONOTONIC);
    const Status status = lib.run(compiled, 0, num_inputs, inputs, num_outputs, outputs);
    const int64_t wall_ns = elapsed_ns(begun, CLOCK_MONOTONIC), cpu_ns = elapsed_ns(cpu_begun, CLOCK_THREAD_CPUTIME_ID);
    check(status, "LiteRtRunCompiledModel");
    if (i == -warm) first_ns = wall_ns;
    if (i >= 0) wall[i] = wall_ns, cpu[i] = cpu_ns;
  }

  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  printf("fleetfront-runner/1 open_ns=%lld first_ns=%lld mask=%llx peak_kb=%ld", (long long)open_ns,
         (long long)first_ns, (unsigned long long)effective_mask(), usage.ru_maxrss);
  print_series("wall_ns", wall, timed);
  print_series("cpu_ns", cpu, timed);
  printf("\n");
  fflush(stdout);
  /* Nothing is torn down: the process ends here, and the library's own clean-up may take longer than the runs. */
  _Exit(0);
}
