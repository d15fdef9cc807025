/* Fake of NVIDIA's driver library, on which the real PyCUDA and cuda-python run without a GPU.

   Device memory is host memory. Work in a stream runs when the stream is synchronised, or is recorded while the stream
   is captured. Calls that need a current context fail without one. All live objects are counted, and any call can be
   made to fail. Python adds work of its own to a stream with `fake_enqueue`. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef int Result;
typedef void (*Function)(void *);
enum { OK = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, NO_CONTEXT = 201, NOT_READY = 600, ILLEGAL_ADDRESS = 700 };

typedef struct { int kind; void *target; const void *source; size_t size; Function function; void *argument; } Work;
typedef struct { Work *items; size_t count, capacity, done, before; } Queue; /* `before`: number of removed items */
typedef struct Stream { Queue queue; Queue *capturing; } Stream;
typedef struct { Stream *stream; size_t after; uint64_t reached; } Event;
enum { COPY, CALL, WAIT, TIMESTAMP };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread void *contexts[16];
static __thread int depth;
static int context_object, retained, sticky_error;
static uint64_t ticks;
static long live_memory, live_host, live_streams, live_events, live_graphs, created;
static char fault_name[64];
static int fault_code, fault_times, wait_milliseconds;

static Result enter(const char *name, int needs_context) {
    pthread_mutex_lock(&lock);
    Result result = needs_context < 0 ? OK : sticky_error; /* push, pop and free are allowed in a lost context */
    if (!result && fault_code && !strcmp(name, fault_name)) {
        result = fault_code;
        if (fault_code >= ILLEGAL_ADDRESS && fault_code < 720) sticky_error = fault_code;
        if (--fault_times == 0) fault_code = 0;
    }
    pthread_mutex_unlock(&lock);
    if (!result && needs_context > 0 && depth == 0) result = NO_CONTEXT;
    return result;
}
#define ENTER(needs_context) do { Result entered = enter(__func__, needs_context); if (entered) return entered; } while (0)

static void append(Queue *queue, Work work) {
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity ? 2 * queue->capacity : 16;
        queue->items = realloc(queue->items, queue->capacity * sizeof(Work));
    }
    queue->items[queue->count++] = work;
}
static void enqueue(Stream *stream, Work work) { append(stream->capturing ? stream->capturing : &stream->queue, work); }

static void run(Stream *stream, size_t until) {
    while (stream->queue.before + stream->queue.done < until) {
        Work work = stream->queue.items[stream->queue.done++];
        if (work.kind == COPY) memcpy(work.target, work.source, work.size);
        if (work.kind == CALL) work.function(work.argument);
        if (work.kind == WAIT && work.target) run(work.target, work.size);
        if (work.kind == TIMESTAMP) ((Event *)work.target)->reached = ticks;
        ticks++;
    }
    if (stream->queue.done == stream->queue.count) {
        stream->queue.before += stream->queue.count;
        stream->queue.done = stream->queue.count = 0;
    }
}
static size_t work_so_far(Stream *stream) { return stream->queue.before + stream->queue.count; }

/* Control by the tests. */
void fake_fail(const char *name, int times, int code) {
    snprintf(fault_name, sizeof fault_name, "%s", name); fault_times = times; fault_code = code;
}
void fake_reset(void) { sticky_error = fault_code = 0; }
void fake_slow(int milliseconds) { wait_milliseconds = milliseconds; }
void fake_enqueue(void *stream, Function function, void *argument) {
    enqueue(stream, (Work){.kind = CALL, .function = function, .argument = argument});
}
int fake_depth(void) { return depth; }
long fake_created(void) { return created; }
void fake_live_objects(char *text, size_t size) {
    snprintf(text, size, "contexts %d, memory %ld, page-locked %ld, streams %ld, events %ld, graphs %ld", retained,
             live_memory, live_host, live_streams, live_events, live_graphs);
}

/* Devices and contexts. */
Result cuInit(unsigned flags) { ENTER(0); return OK; }
Result cuDriverGetVersion(int *version) { *version = 13000; return OK; }
Result cuDeviceGetCount(int *count) { *count = 1; return OK; }
Result cuDeviceGet(int *device, int index) { ENTER(0); if (index) return 101; *device = 0; return OK; }
Result cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "fake GPU"); return OK; }
Result cuDeviceTotalMem_v2(size_t *size, int device) { *size = 1 << 30; return OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    ENTER(0);
    const char *integrated = getenv("FAKE_GPU_INTEGRATED");
    *value = attribute == 75 ? 8 : attribute == 76 ? 9 : attribute == 18 ? integrated != NULL : 0;
    return OK;
}
Result cuDevicePrimaryCtxRetain(void **context, int device) { ENTER(0); retained++; *context = &context_object; return OK; }
Result cuDevicePrimaryCtxRelease_v2(int device) { ENTER(-1); retained--; return OK; }
Result cuCtxPushCurrent_v2(void *context) { ENTER(-1); contexts[depth++] = context; return OK; }
Result cuCtxPopCurrent_v2(void **context) { ENTER(-1); if (!depth) return NO_CONTEXT; *context = contexts[--depth]; return OK; }
Result cuCtxGetCurrent(void **context) { *context = depth ? contexts[depth - 1] : NULL; return OK; }
Result cuCtxGetDevice(int *device) { ENTER(1); *device = 0; return OK; }

/* Memory. */
Result cuMemAlloc_v2(uint64_t *address, size_t size) {
    ENTER(1); void *memory; if (posix_memalign(&memory, 256, size)) return OUT_OF_MEMORY;
    *address = (uint64_t)memory; live_memory++; created++; return OK;
}
Result cuMemFree_v2(uint64_t address) { ENTER(-1); if (!depth) return NO_CONTEXT; free((void *)address); live_memory--; return OK; }
Result cuMemHostAlloc(void **memory, size_t size, unsigned flags) {
    ENTER(1); if (posix_memalign(memory, 4096, size)) return OUT_OF_MEMORY; live_host++; created++; return OK;
}
Result cuMemFreeHost(void *memory) { ENTER(-1); if (!depth) return NO_CONTEXT; free(memory); live_host--; return OK; }
Result cuMemHostGetDevicePointer_v2(uint64_t *address, void *memory, unsigned flags) {
    ENTER(1); *address = (uint64_t)memory; return OK;
}
static Result copy(Stream *stream, void *target, const void *source, size_t size) {
    enqueue(stream, (Work){.kind = COPY, .target = target, .source = source, .size = size}); return OK;
}
Result cuMemcpyHtoDAsync_v2(uint64_t target, const void *source, size_t size, Stream *stream) {
    ENTER(1); return copy(stream, (void *)target, source, size);
}
Result cuMemcpyDtoHAsync_v2(void *target, uint64_t source, size_t size, Stream *stream) {
    ENTER(1); return copy(stream, target, (const void *)source, size);
}
Result cuMemcpyDtoDAsync_v2(uint64_t target, uint64_t source, size_t size, Stream *stream) {
    ENTER(1); return copy(stream, (void *)target, (const void *)source, size);
}

/* Streams and events. */
Result cuStreamCreate(Stream **stream, unsigned flags) {
    ENTER(1); *stream = calloc(1, sizeof(Stream)); live_streams++; created++; return OK;
}
Result cuStreamDestroy_v2(Stream *stream) {
    ENTER(-1); if (!depth) return NO_CONTEXT; free(stream->queue.items); free(stream); live_streams--; return OK;
}
Result cuStreamSynchronize(Stream *stream) {
    ENTER(1); if (stream->capturing) return 900;
    if (wait_milliseconds) usleep(1000 * wait_milliseconds);
    run(stream, work_so_far(stream)); return OK;
}
Result cuEventCreate(Event **event, unsigned flags) {
    ENTER(1); *event = calloc(1, sizeof(Event)); live_events++; created++; return OK;
}
Result cuEventDestroy_v2(Event *event) { ENTER(-1); if (!depth) return NO_CONTEXT; free(event); live_events--; return OK; }
Result cuEventRecord(Event *event, Stream *stream) {
    ENTER(1); enqueue(stream, (Work){.kind = TIMESTAMP, .target = event});
    event->stream = stream; event->after = work_so_far(stream); return OK;
}
Result cuStreamWaitEvent(Stream *stream, Event *event, unsigned flags) {
    /* Later recordings of the event do not change this wait. */
    ENTER(1); enqueue(stream, (Work){.kind = WAIT, .target = event->stream, .size = event->after}); return OK;
}
Result cuEventSynchronize(Event *event) { ENTER(1); if (event->stream) run(event->stream, event->after); return OK; }
Result cuEventQuery(Event *event) { Queue *queue = &event->stream->queue; return queue->before + queue->done >= event->after ? OK : NOT_READY; }
Result cuEventElapsedTime_v2(float *milliseconds, Event *first, Event *second) {
    ENTER(1); *milliseconds = (float)(second->reached - first->reached); return OK;
}

/* Graphs. */
Result cuStreamBeginCapture_v2(Stream *stream, int mode) {
    ENTER(1); if (mode != 1) return INVALID_VALUE; /* thread-local */
    stream->capturing = calloc(1, sizeof(Queue)); return OK;
}
Result cuStreamEndCapture(Stream *stream, Queue **graph) {
    Queue *recorded = stream->capturing; stream->capturing = NULL; *graph = NULL;
    ENTER(1); *graph = recorded; live_graphs++; return OK;
}
Result cuGraphInstantiateWithFlags(Queue **executable, Queue *graph, unsigned long long flags) {
    ENTER(1); *executable = calloc(1, sizeof(Queue)); live_graphs++; created++;
    for (size_t index = 0; index < graph->count; index++) append(*executable, graph->items[index]);
    return OK;
}
Result cuGraphDestroy(Queue *graph) { free(graph->items); free(graph); live_graphs--; return OK; }
Result cuGraphExecDestroy(Queue *graph) { ENTER(-1); free(graph->items); free(graph); live_graphs--; return OK; }
Result cuGraphUpload(Queue *graph, Stream *stream) { ENTER(1); return OK; }
Result cuGraphLaunch(Queue *graph, Stream *stream) {
    ENTER(1); for (size_t index = 0; index < graph->count; index++) enqueue(stream, graph->items[index]); return OK;
}

/* Error texts, and the function table that cuda-python reads. */
Result cuGetErrorString(int code, const char **text) {
    static __thread char unknown[64];
    const char *known = code == OUT_OF_MEMORY ? "out of memory" : code == INVALID_VALUE ? "invalid argument"
        : code == NO_CONTEXT ? "invalid device context" : code == ILLEGAL_ADDRESS ? "an illegal memory access was encountered" : NULL;
    if (!known) { snprintf(unknown, sizeof unknown, "error %d", code); known = unknown; }
    *text = known; return OK;
}
Result cuGetErrorName(int code, const char **text) { *text = "CUDA_ERROR"; return OK; }
Result cuGetProcAddress_v2(const char *symbol, void **function, int version, uint64_t flags, int *status) {
    static const char *endings[] = {"_v2", "", "_v3", NULL};
    char name[128];
    *function = NULL;
    for (int index = 0; endings[index] && !*function; index++) {
        snprintf(name, sizeof name, "%s%s", symbol, endings[index]);
        *function = dlsym(RTLD_DEFAULT, name);
    }
    if (status) *status = *function ? 0 : 1;
    return *function ? OK : 500;
}
