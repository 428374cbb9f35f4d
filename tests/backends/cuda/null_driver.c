/* A CUDA driver without a card, for tests: NULL_DEVICES devices whose memory is the process's.

   Nothing happens before it has to: what is handed to a stream is done when somebody waits for it, or for what waits for
   it by an event. So work that is not ordered meets memory that is not there yet, was given back, or was overwritten,
   where a card would do so now and then. Copies are made, kernels are not run: each launch is a line "kernel blocks threads
   parameter..." in the file NULL_LOG (for device n > 0 in NULL_LOG.n). The clock of events takes a microsecond for each
   of both.

   Refused as by a real driver: calls without a context, streams of another context, memory that is nobody's, freed or too
   short, freeing twice, everything in a forked process, and while a stream records what its mode forbids. Stricter than
   one: pinned memory is given back at once, also while copies use it; memory cannot be allocated or freed in a recording;
   unknown functions fail.

   NULL_MAJOR, NULL_MINOR: capability of the devices, "9,8" for two. NULL_MEMORY: bytes of each. NULL_PINNED: most bytes
   of one piece of pinned memory. NULL_FAULT: a kernel whose name has this in it fails when it runs; the next wait tells,
   and from then on everything fails on that device. NULL_PARAMETERS: "kernel=number,..." of all kernels. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef uint64_t Address;
enum { OK = 0, INVALID = 1, OUT_OF_MEMORY = 2, NOT_INITIALIZED = 3, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_CONTEXT = 201,
       INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719,
       NOT_SUPPORTED = 801, UNSUPPORTED = 900, INVALIDATED, MERGE, UNMATCHED, UNJOINED, ISOLATION, IMPLICIT,
       CAPTURED_EVENT, WRONG_THREAD };
enum { DEVICES = 4, PARAMETERS = 128, MOST = 1 << 16, GLOBAL = 0, THREAD_LOCAL = 1, RELAXED = 2 };
enum { COPY, LAUNCH, RECORD, WAIT, ALLOCATE, FREE, GRAPH };

typedef struct { char name[128]; int parameters; unsigned shared; } Kernel;
typedef struct { Address start; size_t size; int device, pinned, there, freed; } Piece;
typedef struct Stream Stream;
typedef struct Item {
    int kind;
    Kernel *kernel; unsigned blocks, threads; int64_t values[PARAMETERS];
    Address to, from; size_t size;
    struct Event *event; Stream *other; int position;
    Piece *piece; struct Graph *graph;
} Item;
typedef struct { int count, room; Item *items; } List;
typedef struct Graph { List list; int device, destroyed; } Graph;
typedef struct { int device; Result lost; Stream *legacy, *own; double clock_ms; size_t used; } Context;
struct Stream {
    Context *context;
    List list; int head;           /* what is handed in, what of it is done */
    int blocking, destroyed;
    Graph *graph; Stream *origin;  /* while it records: into what, and who began */
    int mode, invalid, joined; pthread_t thread;
};
typedef struct Event { Context *context; Stream *stream; int position, destroyed; Graph *captured; double ms; } Event;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static void leave(int *unused) { pthread_mutex_unlock(&mutex); }
#define ENTER __attribute__((cleanup(leave))) int entered = pthread_mutex_lock(&mutex)
#define TRY(call) do { Result result = (call); if (result) return result; } while (0)

static Context contexts[DEVICES];
static Piece *pieces[MOST]; static int n_pieces;
static Stream *streams[MOST]; static int n_streams;
static __thread Context *stack[64]; static __thread int depth;

static int64_t from_environment(const char *name, int device, int64_t otherwise) {
    const char *text = getenv(name);
    for (; text && device > 0 && strchr(text, ','); device--) text = strchr(text, ',') + 1;
    return text ? atoll(text) : otherwise;
}
static int devices(void) { return (int)from_environment("NULL_DEVICES", 0, 1); }
static Context *current(void) { return depth ? stack[depth - 1] : 0; }
static int forked; /* from a process that uses the driver, which cannot be used then */
static void after_fork(void) { forked = 1; mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER; }
static Result ready(void) { return forked ? NOT_INITIALIZED : !current() ? INVALID_CONTEXT : current()->lost; }

/* ---- doing what was handed in ---- */
static void push(List *list, Item item) {
    if (list->count == list->room) list->items = realloc(list->items, (list->room = 2 * list->room + 16) * sizeof(Item));
    list->items[list->count++] = item;
}
static Piece *piece_at(Address place) {
    for (int i = n_pieces - 1; i >= 0; i--)
        if (pieces[i]->start <= place && place < pieces[i]->start + pieces[i]->size) return pieces[i];
    return 0;
}
static int usable(Address place, size_t size, int device) {
    Piece *p = piece_at(place);
    return p && p->there && !p->freed && place + size <= p->start + p->size && (p->pinned || p->device == device || device < 0);
}
static void drain(Stream *stream, int until);
static void launch(Context *context, const Item *item) {
    const char *fault = getenv("NULL_FAULT"), *path = getenv("NULL_LOG");
    if (fault && strstr(item->kernel->name, fault)) context->lost = LAUNCH_FAILED;
    for (int i = 0; i < item->kernel->parameters; i++)
        if (piece_at(item->values[i]) && !usable(item->values[i], 1, context->device)) context->lost = ILLEGAL_ADDRESS;
    if (context->lost) return;
    char name[4096];
    snprintf(name, sizeof name, context->device ? "%s.%d" : "%s", path, context->device);
    FILE *log = fopen(name, "a");
    fprintf(log, "%s %u %u", item->kernel->name, item->blocks, item->threads);
    for (int i = 0; i < item->kernel->parameters; i++) fprintf(log, " %lld", (long long)item->values[i]);
    fprintf(log, "\n");
    fclose(log);
}
static void perform(Context *context, const Item *item) {
    if (item->kind == WAIT) { drain(item->other, item->position); return; }
    if (item->kind == RECORD) { item->event->ms = context->clock_ms; return; }
    if (item->kind == ALLOCATE) { item->piece->there = 1; return; }
    if (item->kind == FREE) { item->piece->freed = 1; memset((void *)item->piece->start, 0xDD, item->piece->size); return; }
    if (context->lost) return;
    if (item->kind == GRAPH) {
        for (int i = 0; i < item->graph->list.count; i++) perform(context, &item->graph->list.items[i]);
        return;
    }
    context->clock_ms += 0.001;
    if (item->kind == LAUNCH) launch(context, item);
    else if (usable(item->to, item->size, -1) && usable(item->from, item->size, -1))
        memmove((void *)item->to, (void *)item->from, item->size);
    else context->lost = ILLEGAL_ADDRESS;
}
static void drain(Stream *stream, int until) {
    while (stream->head < until) {
        Item item = stream->list.items[stream->head++]; /* a copy: the list may move */
        perform(stream->context, &item);
    }
}
static void drain_device(int device) {
    for (int i = 0; i < n_streams; i++)
        if (streams[i]->context->device == device) drain(streams[i], streams[i]->list.count);
}

/* ---- streams, and what may be done while one records ---- */
static Stream *new_stream(Context *context, int blocking) {
    Stream *made = calloc(1, sizeof(Stream));
    made->context = context;
    made->blocking = blocking;
    return streams[n_streams++] = made;
}
static Result find(void *handle, Stream **found) {
    TRY(ready());
    Context *c = current();
    if ((Address)handle <= 1) { *found = c->legacy = c->legacy ? c->legacy : new_stream(c, 1); return OK; }
    if ((Address)handle == 2) { *found = c->own = c->own ? c->own : new_stream(c, 1); return OK; }
    for (int i = 0; i < n_streams; i++)
        if (streams[i] == handle && !streams[i]->destroyed) { *found = handle; return OK; }
    return INVALID_HANDLE;
}
static Result invalidate(Stream *stream, Result why) { stream->origin->invalid = 1; return why; }
static Result unsafe(void) { /* calls that may wait, by the mode of each recording */
    TRY(ready());
    for (int i = 0; i < n_streams; i++) {
        Stream *s = streams[i];
        if (!s->graph || s->mode == RELAXED || (s->mode == THREAD_LOCAL && !pthread_equal(s->thread, pthread_self()))) continue;
        return invalidate(s, UNSUPPORTED);
    }
    return OK;
}
static Result no_blocking_capture(Stream *stream) { /* the legacy stream waits for blocking ones */
    if (stream != stream->context->legacy) return OK;
    for (int i = 0; i < n_streams; i++)
        if (streams[i]->graph && streams[i]->blocking && streams[i]->context == stream->context) return invalidate(streams[i], IMPLICIT);
    return OK;
}
static void wait_for(List *list, Stream *other) { push(list, (Item){.kind = WAIT, .other = other, .position = other->list.count}); }
static Result take(void *handle, Item item, int here) {
    Stream *s;
    TRY(find(handle, &s));
    if (here && s->context != current()) return INVALID_HANDLE;
    TRY(no_blocking_capture(s));
    if (s->graph) {
        if (s->origin->invalid) return INVALIDATED;
        if (item.kind == ALLOCATE || item.kind == FREE) return invalidate(s, NOT_SUPPORTED);
        s->joined = s == s->origin;
        push(&s->graph->list, item);
        return OK;
    }
    Stream *legacy = s->context->legacy;
    if (s == legacy) {
        for (int i = 0; i < n_streams; i++)
            if (streams[i]->blocking && streams[i] != s && streams[i]->context == s->context) wait_for(&s->list, streams[i]);
    } else if (s->blocking && legacy) wait_for(&s->list, legacy);
    push(&s->list, item);
    return OK;
}

/* ---- devices and contexts ---- */
Result cuInit(unsigned flags) {
    static int called;
    if (!called++) pthread_atfork(0, 0, after_fork);
    return forked ? NOT_INITIALIZED : devices() ? OK : NO_DEVICE;
}
Result cuDriverGetVersion(int *version) { *version = (int)from_environment("NULL_VERSION", 0, 13000); return OK; }
Result cuDeviceGetCount(int *n) { *n = devices(); return OK; }
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal < devices() ? OK : INVALID_DEVICE; }
Result cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "null card"); return OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int device) {
    switch (attribute) {
    case 75: *value = (int)from_environment("NULL_MAJOR", device, 9); break;
    case 76: *value = (int)from_environment("NULL_MINOR", device, 0); break;
    case 115: *value = 1; break; /* memory pools */
    default: *value = 1024;
    }
    return OK;
}
Result cuDevicePrimaryCtxRetain(void **made, int device) {
    contexts[device].device = device;
    *made = &contexts[device];
    return OK;
}
Result cuDevicePrimaryCtxRelease_v2(int device) { return OK; }
Result cuCtxGetCurrent(void **found) { *found = current(); return OK; }
Result cuCtxPushCurrent_v2(void *chosen) { stack[depth++] = chosen; return OK; }
Result cuCtxPopCurrent_v2(void **found) {
    if (!depth) return INVALID_CONTEXT;
    if (found) *found = current();
    depth--;
    return OK;
}
Result cuCtxSetCurrent(void *chosen) {
    if (depth) depth--;
    return chosen ? cuCtxPushCurrent_v2(chosen) : OK;
}
Result cuCtxGetDevice(int *device) { return current() ? (*device = current()->device, OK) : INVALID_CONTEXT; }
Result cuCtxGetStreamPriorityRange(int *least, int *greatest) { *least = *greatest = 0; return ready(); }
Result cuCtxSynchronize(void) {
    ENTER;
    TRY(ready());
    for (int i = 0; i < n_streams; i++)
        if (streams[i]->graph && streams[i]->context == current()) return invalidate(streams[i], UNSUPPORTED);
    drain_device(current()->device);
    return current()->lost;
}

/* ---- memory ---- */
static size_t capacity(int device) { return from_environment("NULL_MEMORY", device, 1 << 30); }
static Result new_piece(Address *made, size_t size, int pinned, int there, Piece **found) {
    Context *c = current();
    if (pinned ? size > from_environment("NULL_PINNED", 0, 1 << 30) : c->used + size > capacity(c->device)) return OUT_OF_MEMORY;
    Piece *p = calloc(1, sizeof(Piece));
    *p = (Piece){(Address)aligned_alloc(256, (size + 255) / 256 * 256), size, c->device, pinned, there};
    memset((void *)p->start, 0xCC, size);
    if (!pinned) c->used += size;
    pieces[n_pieces++] = p;
    *made = p->start;
    if (found) *found = p;
    return OK;
}
static Result old_piece(Address place, int pinned, Piece **found) {
    Piece *p = piece_at(place);
    if (!p || p->start != place || p->freed || p->pinned != pinned) return INVALID;
    *found = p;
    return OK;
}
Result cuMemGetInfo_v2(size_t *free, size_t *total) {
    ENTER;
    TRY(ready());
    *total = capacity(current()->device);
    *free = *total - current()->used;
    return OK;
}
Result cuMemAlloc_v2(Address *made, size_t size) { ENTER; TRY(unsafe()); return new_piece(made, size, 0, 1, 0); }
Result cuMemAllocAsync(Address *made, size_t size, void *stream) {
    ENTER;
    Piece *p;
    TRY(ready());
    TRY(new_piece(made, size, 0, 0, &p));
    return take(stream, (Item){.kind = ALLOCATE, .piece = p}, 1);
}
Result cuMemAllocFromPoolAsync(Address *made, size_t size, void *pool, void *stream) { return cuMemAllocAsync(made, size, stream); }
Result cuMemFree_v2(Address place) {
    ENTER;
    Piece *p;
    TRY(unsafe());
    TRY(old_piece(place, 0, &p));
    drain_device(p->device);
    contexts[p->device].used -= p->size;
    perform(&contexts[p->device], &(Item){.kind = FREE, .piece = p});
    return current()->lost;
}
Result cuMemFreeAsync(Address place, void *stream) {
    ENTER;
    Piece *p;
    TRY(old_piece(place, 0, &p));
    for (int i = 0; i < n_streams; i++) /* a free that is handed in, and not done */
        for (int k = streams[i]->head; k < streams[i]->list.count; k++)
            if (streams[i]->list.items[k].kind == FREE && streams[i]->list.items[k].piece == p) return INVALID;
    TRY(take(stream, (Item){.kind = FREE, .piece = p}, 1));
    contexts[p->device].used -= p->size;
    return OK;
}
Result cuMemAllocHost_v2(void **made, size_t size) { ENTER; TRY(unsafe()); return new_piece((Address *)made, size, 1, 1, 0); }
Result cuMemHostAlloc(void **made, size_t size, unsigned flags) { return cuMemAllocHost_v2(made, size); }
Result cuMemFreeHost(void *place) {
    ENTER;
    Piece *p;
    TRY(unsafe());
    TRY(old_piece((Address)place, 1, &p));
    perform(current(), &(Item){.kind = FREE, .piece = p});
    return OK;
}
Result cuDeviceGetDefaultMemPool(void **pool, int device) { *pool = &contexts[device]; return OK; }
Result cuDeviceGetMemPool(void **pool, int device) { *pool = &contexts[device]; return OK; }
Result cuMemPoolGetAttribute(Context *pool, int attribute, uint64_t *value) { *value = pool->used; return OK; }
Result cuMemPoolSetAttribute(void *pool, int attribute, void *value) { return OK; }
Result cuPointerGetAttribute(void *value, int attribute, Address place) {
    ENTER;
    Piece *p = piece_at(place);
    if (!p || p->freed) return INVALID;
    if (attribute == 9) *(int *)value = p->device;
    else if (attribute == 2) *(unsigned *)value = p->pinned ? 1 : 2;
    else if (attribute == 3 || attribute == 4) *(Address *)value = place;
    else *(int *)value = 0;
    return OK;
}
Result cuPointerGetAttributes(unsigned n, int *attributes, void **values, Address place) {
    for (unsigned i = 0; i < n; i++)
        if (cuPointerGetAttribute(values[i], attributes[i], place)) *(int *)values[i] = attributes[i] == 9 ? -2 : 0;
    return OK;
}
Result cuMemcpyAsync(Address to, Address from, size_t size, void *stream) {
    ENTER;
    if (!usable(to, 1, -1) && !piece_at(to) || !piece_at(from)) return INVALID;
    return take(stream, (Item){.kind = COPY, .to = to, .from = from, .size = size}, 0);
}
Result cuMemcpyHtoDAsync_v2(Address to, Address from, size_t size, void *stream) { return cuMemcpyAsync(to, from, size, stream); }
Result cuMemcpyDtoHAsync_v2(Address to, Address from, size_t size, void *stream) { return cuMemcpyAsync(to, from, size, stream); }
Result cuMemcpyDtoDAsync_v2(Address to, Address from, size_t size, void *stream) { return cuMemcpyAsync(to, from, size, stream); }

/* ---- kernels ---- */
Result cuLibraryLoadData(void **made, const char *code, void *a, void *b, unsigned n, void *c, void *d, unsigned m) {
    if (memcmp(code, "\x7f" "ELF", 4)) return INVALID;
    *made = (void *)code;
    return OK;
}
Result cuLibraryUnload(void *library) { return OK; }
Result cuLibraryGetKernel(void **made, void *library, const char *name) {
    Kernel *kernel = calloc(1, sizeof(Kernel));
    snprintf(kernel->name, sizeof kernel->name, "%s", name);
    const char *known = getenv("NULL_PARAMETERS");
    const char *found = known ? strstr(known, name) : 0;
    if (!found) return NOT_FOUND;
    kernel->parameters = atoi(found + strlen(name) + 1);
    *made = kernel;
    return OK;
}
Result cuKernelGetFunction(void **function, void *kernel) { *function = kernel; return OK; }
Result cuKernelGetAttribute(int *value, int attribute, void *kernel, int device) { *value = 1024; return OK; }
static int most_shared(int device) { /* bytes that a block can be launched with, by capability */
    int minor = from_environment("NULL_MINOR", device, 0);
    if (from_environment("NULL_MAJOR", device, 9) != 8) return 227 << 10;
    return minor == 6 || minor == 9 ? 99 << 10 : 163 << 10;
}
Result cuKernelSetAttribute(int attribute, int value, Kernel *kernel, int device) {
    if (attribute != 8) return OK;
    if (value < 0 || value > most_shared(device)) return INVALID;
    kernel->shared = value; /* most dynamic shared memory */
    return OK;
}
Result cuLaunchKernelEx(unsigned *config, Kernel *kernel, void **parameters, void *extra) {
    ENTER;
    if (config[6] > 48 << 10 && config[6] > kernel->shared) return INVALID;
    Item item = {.kind = LAUNCH, .kernel = kernel, .blocks = config[0], .threads = config[3]};
    for (int i = 0; i < kernel->parameters; i++) item.values[i] = *(int64_t *)parameters[i];
    return take(*(void **)(config + 8), item, 1);
}
Result cuLaunchKernel(void *kernel, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                      unsigned shared, void *stream, void **parameters, void **extra) {
    unsigned config[10] = {gx, gy, gz, bx, by, bz, shared};
    memcpy(config + 8, &stream, sizeof stream);
    return cuLaunchKernelEx(config, kernel, parameters, extra);
}

/* ---- streams ---- */
Result cuStreamCreateWithPriority(void **made, unsigned flags, int priority) {
    ENTER;
    TRY(ready());
    *made = new_stream(current(), !(flags & 1));
    return OK;
}
Result cuStreamDestroy_v2(void *stream) {
    ENTER;
    Stream *s;
    TRY(find(stream, &s));
    drain(s, s->list.count);
    s->destroyed = 1;
    s->graph = 0;
    return OK;
}
Result cuStreamGetCtx(void *stream, void **found) { ENTER; Stream *s; TRY(find(stream, &s)); *found = s->context; return OK; }
Result cuStreamGetCtx_v2(void *stream, void **found, void **green) { if (green) *green = 0; return cuStreamGetCtx(stream, found); }
Result cuStreamGetDevice(void *stream, int *device) { ENTER; Stream *s; TRY(find(stream, &s)); *device = s->context->device; return OK; }
Result cuStreamGetFlags(void *stream, unsigned *flags) { ENTER; Stream *s; TRY(find(stream, &s)); *flags = !s->blocking; return OK; }
Result cuStreamSynchronize(void *stream) {
    ENTER;
    Stream *s;
    TRY(find(stream, &s));
    if (s->graph) return invalidate(s, UNSUPPORTED);
    TRY(no_blocking_capture(s));
    drain(s, s->list.count);
    for (int i = 0; i < n_streams && s == s->context->legacy; i++)
        if (streams[i]->blocking && streams[i]->context == s->context) drain(streams[i], streams[i]->list.count);
    return s->context->lost;
}
Result cuStreamWaitEvent(void *stream, Event *event, unsigned flags) {
    ENTER;
    Stream *s, *other = event->stream;
    TRY(find(stream, &s));
    if (event->destroyed) return INVALID_HANDLE;
    if (!other) return OK;
    if (!event->captured && !s->graph) return take(s, (Item){.kind = WAIT, .other = other, .position = event->position}, 0);
    if (!event->captured) return invalidate(s, ISOLATION);
    if (s->graph && s->graph != event->captured) return invalidate(s, MERGE);
    if (!s->graph) { s->graph = event->captured; s->origin = other->origin; s->mode = other->mode; s->thread = other->thread; }
    if (s == s->origin) other->joined = 1;
    return OK;
}

/* ---- recording ---- */
Result cuStreamBeginCapture_v2(void *stream, int mode) {
    ENTER;
    Stream *s;
    TRY(find(stream, &s));
    if (s->graph || s == s->context->legacy) return UNSUPPORTED;
    s->graph = calloc(1, sizeof(Graph));
    s->graph->device = s->context->device;
    s->origin = s;
    s->mode = mode;
    s->thread = pthread_self();
    s->invalid = 0;
    return OK;
}
Result cuStreamEndCapture(void *stream, void **made) {
    ENTER;
    Stream *s;
    Result result = OK;
    if (made) *made = 0;
    TRY(find(stream, &s));
    if (!s->graph) return INVALID;
    if (s->origin != s) return invalidate(s, UNMATCHED);
    if (s->mode != RELAXED && !pthread_equal(s->thread, pthread_self())) return WRONG_THREAD;
    Graph *graph = s->graph;
    for (int i = 0; i < n_streams; i++) {
        if (streams[i]->graph != graph) continue;
        if (streams[i] != s && !streams[i]->joined) result = UNJOINED;
        streams[i]->graph = 0;
    }
    if (s->invalid) result = INVALIDATED;
    if (!result && made) *made = graph;
    return result;
}
Result cuStreamIsCapturing(void *stream, int *status) {
    ENTER;
    Stream *s;
    TRY(find(stream, &s));
    TRY(no_blocking_capture(s));
    *status = !s->graph ? 0 : s->origin->invalid ? 2 : 1;
    return OK;
}
Result cuStreamGetCaptureInfo_v2(void *stream, int *status, uint64_t *id, void **found, void **edges, size_t *n) {
    TRY(cuStreamIsCapturing(stream, status));
    Stream *s = stream;
    if (id) *id = *status ? (Address)s->graph : 0;
    if (found) *found = *status ? s->graph : 0;
    if (n) *n = 0;
    return OK;
}
Result cuStreamGetCaptureInfo_v3(void *stream, int *status, uint64_t *id, void **found, void **edges, void **data, size_t *n) {
    return cuStreamGetCaptureInfo_v2(stream, status, id, found, edges, n);
}
Result cuGraphInstantiateWithFlags(Graph **made, Graph *of, uint64_t flags) {
    ENTER;
    TRY(ready());
    if (!of || of->destroyed) return INVALID;
    *made = calloc(1, sizeof(Graph));
    (*made)->device = of->device;
    for (int i = 0; i < of->list.count; i++) push(&(*made)->list, of->list.items[i]);
    return OK;
}
Result cuGraphInstantiateWithParams(void **made, void *of, char *parameters) {
    *(int *)(parameters + 24) = OK; /* result_out, behind flags, stream and node */
    return cuGraphInstantiateWithFlags((Graph **)made, of, 0);
}
Result cuGraphLaunch(Graph *what, void *stream) {
    ENTER;
    Stream *s;
    TRY(find(stream, &s));
    if (what->destroyed || s->context->device != what->device) return INVALID;
    return take(stream, (Item){.kind = GRAPH, .graph = what}, 1);
}
static Result destroy(Graph *graph) {
    ENTER;
    if (graph->destroyed) return INVALID;
    graph->destroyed = 1;
    return OK;
}
Result cuGraphDestroy(void *graph) { return destroy(graph); }
Result cuGraphExecDestroy(void *graph) { return destroy(graph); }

/* what Python hangs on a graph, which stays */
Result cuUserObjectCreate(void **made, void *object, void *destroy, unsigned count, unsigned flags) { *made = object; return OK; }
Result cuUserObjectRelease(void *object, unsigned count) { return OK; }
Result cuGraphRetainUserObject(void *graph, void *object, unsigned count, unsigned flags) { return OK; }
Result cuGraphReleaseUserObject(void *graph, void *object, unsigned count) { return OK; }

/* ---- events ---- */
Result cuEventCreate(Event **made, unsigned flags) {
    ENTER;
    TRY(ready());
    *made = calloc(1, sizeof(Event));
    (*made)->context = current();
    return OK;
}
Result cuEventDestroy_v2(Event *event) { event->destroyed = 1; return OK; }
Result cuEventRecord(Event *event, void *stream) {
    ENTER;
    Stream *s;
    TRY(find(stream, &s));
    if (event->destroyed || event->context != s->context) return INVALID_HANDLE;
    event->captured = s->graph;
    event->stream = s;
    if (s->graph) return s->origin->invalid ? INVALIDATED : OK;
    TRY(take(s, (Item){.kind = RECORD, .event = event}, 0));
    event->position = s->list.count;
    return OK;
}
Result cuEventRecordWithFlags(Event *event, void *stream, unsigned flags) { return cuEventRecord(event, stream); }
static Result finished(Event *event) {
    TRY(ready());
    if (event->captured) return CAPTURED_EVENT;
    return event->stream && event->stream->head < event->position ? NOT_READY : event->context->lost;
}
Result cuEventQuery(Event *event) { ENTER; return finished(event); }
Result cuEventSynchronize(Event *event) {
    ENTER;
    if (event->stream && !event->captured) drain(event->stream, event->position);
    return finished(event);
}
Result cuEventElapsedTime_v2(float *ms, Event *start, Event *end) {
    ENTER;
    TRY(finished(start));
    TRY(finished(end));
    *ms = (float)(end->ms - start->ms);
    return OK;
}
Result cuEventElapsedTime(float *ms, Event *start, Event *end) { return cuEventElapsedTime_v2(ms, start, end); }

/* ---- how the bindings find all this ---- */
static const struct { Result number; const char *name; } ERRORS[] = {
    {INVALID, "INVALID_VALUE"}, {OUT_OF_MEMORY, "OUT_OF_MEMORY"}, {NOT_INITIALIZED, "NOT_INITIALIZED"},
    {NO_DEVICE, "NO_DEVICE"}, {INVALID_DEVICE, "INVALID_DEVICE"},
    {INVALID_CONTEXT, "INVALID_CONTEXT"}, {INVALID_HANDLE, "INVALID_HANDLE"}, {NOT_FOUND, "NOT_FOUND"}, {NOT_READY, "NOT_READY"},
    {ILLEGAL_ADDRESS, "ILLEGAL_ADDRESS"}, {LAUNCH_FAILED, "LAUNCH_FAILED"}, {NOT_SUPPORTED, "NOT_SUPPORTED"},
    {UNSUPPORTED, "STREAM_CAPTURE_UNSUPPORTED"}, {INVALIDATED, "STREAM_CAPTURE_INVALIDATED"}, {MERGE, "STREAM_CAPTURE_MERGE"},
    {UNMATCHED, "STREAM_CAPTURE_UNMATCHED"}, {UNJOINED, "STREAM_CAPTURE_UNJOINED"}, {ISOLATION, "STREAM_CAPTURE_ISOLATION"},
    {IMPLICIT, "STREAM_CAPTURE_IMPLICIT"}, {CAPTURED_EVENT, "CAPTURED_EVENT"}, {WRONG_THREAD, "STREAM_CAPTURE_WRONG_THREAD"}};
Result cuGetErrorName(Result error, const char **text) {
    static char names[1000][64];
    if (error < 0 || error >= 1000) return INVALID;
    for (unsigned i = 0; i < sizeof ERRORS / sizeof *ERRORS; i++)
        if (ERRORS[i].number == error) snprintf(names[error], 64, "CUDA_ERROR_%s", ERRORS[i].name);
    *text = names[error];
    return OK;
}
Result cuGetErrorString(Result error, const char **text) { return cuGetErrorName(error, text); }
static Result nothing(void) { return NOT_SUPPORTED; }

Result cuGetProcAddress_v2(const char *symbol, void **found, int version, uint64_t flags, int *status) {
    char name[160];
    *found = 0;
    for (int v = 3; v > 0 && !*found; v--) {
        snprintf(name, sizeof name, v > 1 ? "%s_v%d" : "%s", symbol, v);
        *found = dlsym(dlopen(getenv("NULL_DRIVER"), RTLD_LAZY | RTLD_NOLOAD), name);
    }
    if (!*found) *found = (void *)nothing;
    if (status) *status = 0;
    return OK;
}
