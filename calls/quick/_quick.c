/* The way of a frame in C: see __init__.py for what it is, and for the rule that it keeps.
 *
 * Nothing here is the only one that can do something. Whatever is not exactly what nearly every frame is (a whole text
 * frame, with one media message in it, of the inbound track, in its turn, for a stream that is open) is left untouched,
 * and Python takes it. So each function looks at everything first, and changes something only when nothing can refuse.
 *
 * State stays in the Python objects that own it. Their classes have __slots__, whose offsets are looked up once: what is
 * read and written here is what `lane.end` reads and writes.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <sys/socket.h>
#include <time.h>

/* calls.media.audio, and what calls.media.tape and calls.media.playback tolerate. */
#define SAMPLE_RATE 8000.0
#define SAMPLES_PER_MS 8
#define FRAME_SAMPLES 160
#define TOLERANCE (60 * 8000)
#define ADJACENT (60 * SAMPLES_PER_MS)
#define LOOK_AHEAD (10 * 8000)

/* A frame as calls.sockets.frames has it, of a size that Twilio's come near: longer ones are Python's. */
#define HEAD 8
#define SHORTEST 126
#define LONGEST 4096

/* scripts/quick.py says which source this is. */
#ifndef SOURCE
#define SOURCE ""
#endif

/* --- slots -------------------------------------------------------------------------------------------------------- */

enum slot {
    ARRIVALS_PROTOCOL, ARRIVALS_TAPE, ARRIVALS_LANE, ARRIVALS_CLOCK, ARRIVALS_INBOX, ARRIVALS_EAR, ARRIVALS_GAPS,
    PROTOCOL_STATE, PROTOCOL_SID, PROTOCOL_NEXT, PROTOCOL_GAPS, PROTOCOL_BOTH_WAYS, PROTOCOL_PREFIX,
    TAPE_FIRST, TAPE_ORIGIN, TAPE_RECEIVED,
    LANE_END, LANE_RUN, LANE_PAUSED,
    CLOCK_START, CLOCK_LEAD, CLOCK_LAST, CLOCK_ARRIVAL, CLOCK_JITTER,
    INBOX_EVENTS, INBOX_QUEUED, INBOX_ROOM, INBOX_WAITERS, INBOX_LIFETIME, INBOX_READERS,
    LIFETIME_IS_OVER,
    OUTGOING_IS_IDLE, OUTGOING_SPEECHES, OUTGOING_PLAYBACK,
    SPEECHES_IS_FLYING, SPEECHES_CURRENT,
    OPENED_PLAYING,
    PLAYBACK_SEGMENTS, PLAYBACK_SEALED, PLAYBACK_END, PLAYBACK_SENT, PLAYBACK_HEARD, PLAYBACK_CLEARED,
    SEGMENT_AUDIO,
    SLOTS
};

static const char *const names[SLOTS] = {
    "protocol", "tape", "lane", "clock", "inbox", "ear", "gaps_seen",
    "state", "stream_sid", "next_sequence", "sequence_gaps", "bidirectional", "_prefix",
    "first_timestamp", "_origin", "frames_received",
    "end", "run", "paused",
    "_start", "_lead", "_last", "_arrival", "_jitter",
    "_events", "_media_queued", "_room", "_waiters", "_lifetime", "_readers",
    "is_over",
    "is_idle", "speeches", "_playback",
    "is_flying", "current",
    "playing",
    "_segments", "_sealed", "end", "sent", "heard", "cleared",
    "audio",
};

static Py_ssize_t offsets[SLOTS];

/* Looks up where these slots of a class lie. TypeError if one is none that holds an object. */
static int locate(PyTypeObject *type, enum slot first, enum slot last) {
    for (int slot = first; slot <= (int)last; slot++) {
        PyObject *found = PyObject_GetAttrString((PyObject *)type, names[slot]);
        if (!found) return -1;
        int is_slot = Py_IS_TYPE(found, &PyMemberDescr_Type);
        PyMemberDef *member = is_slot ? ((PyMemberDescrObject *)found)->d_member : NULL;
        if (member && member->type == T_OBJECT_EX) offsets[slot] = member->offset;
        else is_slot = 0;
        Py_DECREF(found);
        if (!is_slot) {
            PyErr_Format(PyExc_TypeError, "%s.%s is no slot", type->tp_name, names[slot]);
            return -1;
        }
    }
    return 0;
}

static inline PyObject **at(PyObject *owner, enum slot slot) {
    return (PyObject **)((char *)owner + offsets[slot]);
}

static inline PyObject *get(PyObject *owner, enum slot slot) { return *at(owner, slot); }

/* Takes over `value`; -1 if it is NULL. */
static inline int set(PyObject *owner, enum slot slot, PyObject *value) {
    if (!value) return -1;
    PyObject **place = at(owner, slot), *old = *place;
    *place = value;
    Py_XDECREF(old);
    return 0;
}

/* An integer or a float of a slot; *ok is 0 if it is something else. */
static inline long long integer(PyObject *owner, enum slot slot, int *ok) {
    PyObject *value = get(owner, slot);
    int overflow = 0;
    if (!value || !PyLong_CheckExact(value)) return *ok = 0;
    long long number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (overflow) *ok = 0;
    return number;
}

static inline double real(PyObject *owner, enum slot slot, int *ok) {
    PyObject *value = get(owner, slot);
    if (!value || !PyFloat_CheckExact(value)) return *ok = 0;
    return PyFloat_AS_DOUBLE(value);
}

/* What time.monotonic() says. */
#ifdef __APPLE__
#define CLOCK CLOCK_UPTIME_RAW
#else
#define CLOCK CLOCK_MONOTONIC
#endif
static double monotonic(void) {
    struct timespec now;
    clock_gettime(CLOCK, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* --- base64 ------------------------------------------------------------------------------------------------------- */

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static unsigned char value_of[256];

static void make_tables(void) {
    memset(value_of, 0xFF, sizeof value_of);
    for (int i = 0; i < 64; i++) value_of[(unsigned char)alphabet[i]] = (unsigned char)i;
}

/* Characters of the base64 that begins there, and through *bytes how much it holds; 0 if it is none, or not exact. */
static Py_ssize_t base64_size(const unsigned char *text, Py_ssize_t left, Py_ssize_t *bytes) {
    Py_ssize_t size = 0;
    while (size < left && value_of[text[size]] != 0xFF) size++;
    Py_ssize_t padding = 0;
    while (size + padding < left && padding < 2 && text[size + padding] == '=') padding++;
    if (!size || (size + padding) % 4) return 0;
    /* Bits that belong to no byte are nobody's. */
    if ((padding == 1 && value_of[text[size - 1]] & 3) || (padding == 2 && value_of[text[size - 1]] & 15)) return 0;
    *bytes = (size + padding) / 4 * 3 - padding;
    return size + padding;
}

static void from_base64(const unsigned char *text, unsigned char *out, Py_ssize_t bytes) {
    for (; bytes >= 3; bytes -= 3, text += 4, out += 3) {
        uint32_t four = (uint32_t)value_of[text[0]] << 18 | (uint32_t)value_of[text[1]] << 12 |
                        (uint32_t)value_of[text[2]] << 6 | value_of[text[3]];
        out[0] = (unsigned char)(four >> 16), out[1] = (unsigned char)(four >> 8), out[2] = (unsigned char)four;
    }
    if (bytes) out[0] = (unsigned char)(value_of[text[0]] << 2 | value_of[text[1]] >> 4);
    if (bytes == 2) out[1] = (unsigned char)(value_of[text[1]] << 4 | value_of[text[2]] >> 2);
}

static char *to_base64(const unsigned char *bytes, Py_ssize_t size, char *out) {
    for (; size >= 3; size -= 3, bytes += 3) {
        uint32_t three = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
        *out++ = alphabet[three >> 18], *out++ = alphabet[three >> 12 & 63];
        *out++ = alphabet[three >> 6 & 63], *out++ = alphabet[three & 63];
    }
    if (size) {
        *out++ = alphabet[bytes[0] >> 2];
        *out++ = alphabet[(bytes[0] & 3) << 4 | (size == 2 ? bytes[1] >> 4 : 0)];
        *out++ = size == 2 ? alphabet[(bytes[1] & 15) << 2] : '=';
        *out++ = '=';
    }
    return out;
}

/* --- a media message ---------------------------------------------------------------------------------------------- */

struct message {
    const unsigned char *sid, *payload;
    Py_ssize_t sid_size, payload_bytes;
    long long sequence, timestamp, chunk;
    int is_outbound;
};

struct text {
    const unsigned char *at, *end;
};

static inline void skip_space(struct text *text) {
    while (text->at < text->end && (*text->at == ' ' || *text->at == '\t' || *text->at == '\n' || *text->at == '\r'))
        text->at++;
}

/* Passes over one character, with space before it and behind. */
static inline int take(struct text *text, unsigned char wanted) {
    skip_space(text);
    if (text->at == text->end || *text->at != wanted) return 0;
    text->at++;
    skip_space(text);
    return 1;
}

/* A string of plain ASCII, without escapes. */
static int take_string(struct text *text, const unsigned char **string, Py_ssize_t *size) {
    if (text->at == text->end || *text->at != '"') return 0;
    const unsigned char *from = ++text->at;
    while (text->at < text->end && *text->at >= 0x20 && *text->at < 0x7F && *text->at != '"' && *text->at != '\\')
        text->at++;
    if (text->at == text->end || *text->at != '"') return 0;
    *string = from;
    *size = text->at++ - from;
    return 1;
}

/* A counter: Twilio's are strings of decimals. */
static int take_counter(struct text *text, long long *counter) {
    int is_string = text->at < text->end && *text->at == '"';
    text->at += is_string;
    const unsigned char *from = text->at;
    long long number = 0;
    while (text->at < text->end && *text->at >= '0' && *text->at <= '9' && text->at - from < 15)
        number = 10 * number + (*text->at++ - '0');
    Py_ssize_t size = text->at - from;
    if (!size || (size > 1 && *from == '0') || text->at == text->end) return 0;
    if (is_string ? *text->at != '"' : (*text->at != ',' && *text->at != '}')) return 0;
    text->at += is_string;
    *counter = number;
    return 1;
}

static inline int is(const unsigned char *string, Py_ssize_t size, const char *word) {
    return size == (Py_ssize_t)strlen(word) && !memcmp(string, word, (size_t)size);
}

static int take_track(struct text *text, struct message *message) {
    const unsigned char *track;
    Py_ssize_t size;
    if (!take_string(text, &track, &size)) return 0;
    message->is_outbound = is(track, size, "outbound");
    return message->is_outbound || is(track, size, "inbound");
}

static int take_payload(struct text *text, struct message *message) {
    if (text->at == text->end || *text->at != '"') return 0;
    message->payload = ++text->at;
    Py_ssize_t size = base64_size(text->at, text->end - text->at, &message->payload_bytes);
    text->at += size;
    return size && text->at < text->end && *text->at++ == '"';
}

/* The object of `media`, each of its fields once and no other one. */
static int take_media(struct text *text, struct message *message) {
    enum { TRACK = 1, CHUNK = 2, TIMESTAMP = 4, PAYLOAD = 8 };
    int seen = 0;
    if (!take(text, '{')) return 0;
    do {
        const unsigned char *key;
        Py_ssize_t size;
        int field = 0, is_good = 0;
        if (!take_string(text, &key, &size) || !take(text, ':')) return 0;
        if (is(key, size, "payload")) field = PAYLOAD, is_good = take_payload(text, message);
        else if (is(key, size, "timestamp")) field = TIMESTAMP, is_good = take_counter(text, &message->timestamp);
        else if (is(key, size, "chunk")) field = CHUNK, is_good = take_counter(text, &message->chunk);
        else if (is(key, size, "track")) field = TRACK, is_good = take_track(text, message);
        if (!is_good || seen & field) return 0;
        seen |= field;
    } while (take(text, ','));
    return take(text, '}') && (seen & (TIMESTAMP | PAYLOAD)) == (TIMESTAMP | PAYLOAD);
}

/* 1 if the text is one media message, with nothing in it that calls.media.protocol would take for something else. */
static int read_message(const unsigned char *from, Py_ssize_t size, struct message *message) {
    enum { EVENT = 1, SEQUENCE = 2, SID = 4, MEDIA = 8, ALL = 15 };
    struct text text = {from, from + size};
    int seen = 0;
    memset(message, 0, sizeof *message);
    if (!take(&text, '{')) return 0;
    do {
        const unsigned char *key, *event;
        Py_ssize_t key_size, event_size;
        int field = 0, is_good = 0;
        if (!take_string(&text, &key, &key_size) || !take(&text, ':')) return 0;
        if (is(key, key_size, "event"))
            field = EVENT, is_good = take_string(&text, &event, &event_size) && is(event, event_size, "media");
        else if (is(key, key_size, "media")) field = MEDIA, is_good = take_media(&text, message);
        else if (is(key, key_size, "streamSid"))
            field = SID, is_good = take_string(&text, &message->sid, &message->sid_size);
        else if (is(key, key_size, "sequenceNumber")) field = SEQUENCE, is_good = take_counter(&text, &message->sequence);
        if (!is_good || seen & field) return 0;
        seen |= field;
    } while (take(&text, ','));
    return take(&text, '}') && text.at == text.end && seen == ALL;
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static PyObject *word_call_soon, *word_context, *word_put_media, *word_hear, *word_take, *word_play;
/* The names of a call's arguments. */
static PyObject *only_media_name;
/* asyncio's books of which task runs in which loop; NULL where it keeps them elsewhere. */
static PyObject *current_tasks;
static PyObject *cancelled_error;

enum waiting { IDLE, PARKED, WOKEN, CANCELLED };

typedef struct Step Step;

/* What a task waits for whose iterator has nothing to give: as much of a future as a task asks of one. */
typedef struct {
    PyObject_HEAD
    PyObject *loop, *callback, *context;
    Step *step;
    PyObject *message;
    char state, is_blocking;
} Waiter;

/* What `anext` of a Reader gives, again and again the same, so that a frame makes no object but itself. */
struct Step {
    PyObject_HEAD
    PyObject *inbox, *given;
    Waiter *waiter;
    char is_only_media, is_counted, is_finished;
};

static PyTypeObject WaiterType, StepType;

static int waiter_traverse(Waiter *self, visitproc visit, void *arg) {
    Py_VISIT(self->loop);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->step);
    Py_VISIT(self->message);
    return 0;
}

static int waiter_clear(Waiter *self) {
    Py_CLEAR(self->loop);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->context);
    Py_CLEAR(self->step);
    Py_CLEAR(self->message);
    return 0;
}

static void waiter_dealloc(Waiter *self) {
    PyObject_GC_UnTrack(self);
    waiter_clear(self);
    Py_TYPE(self)->tp_free(self);
}

/* Has whoever waits go on in the loop's next turn, as a future does. */
static int waiter_schedule(Waiter *self) {
    if (!self->callback) return 0;
    PyObject *callback = self->callback, *context = self->context;
    self->callback = self->context = NULL;
    PyObject *arguments[] = {self->loop, callback, (PyObject *)self, context};
    PyObject *keywords = context ? PyTuple_Pack(1, word_context) : NULL;
    PyObject *handle = NULL;
    if (keywords || !context) handle = PyObject_VectorcallMethod(word_call_soon, arguments, 3, keywords);
    Py_XDECREF(keywords), Py_DECREF(callback), Py_XDECREF(context), Py_XDECREF(handle);
    return handle ? 0 : -1;
}

static PyObject *waiter_add_done_callback(Waiter *self, PyObject *const *args, Py_ssize_t count, PyObject *keywords) {
    Py_ssize_t named = keywords ? PyTuple_GET_SIZE(keywords) : 0;
    if (count != 1 || named > 1 || (named && !PyUnicode_Check(PyTuple_GET_ITEM(keywords, 0)))) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback takes a callback and a context");
        return NULL;
    }
    Py_XSETREF(self->callback, Py_NewRef(args[0]));
    Py_XSETREF(self->context, named ? Py_NewRef(args[1]) : PyContext_CopyCurrent());
    if (!self->context || (self->state != PARKED && waiter_schedule(self))) return NULL;
    Py_RETURN_NONE;
}

static PyObject *waiter_done(Waiter *self, PyObject *Py_UNUSED(ignored)) { return PyBool_FromLong(self->state != PARKED); }

static PyObject *waiter_cancelled(Waiter *self, PyObject *Py_UNUSED(ignored)) {
    return PyBool_FromLong(self->state == CANCELLED);
}

static PyObject *waiter_get_loop(Waiter *self, PyObject *Py_UNUSED(ignored)) { return Py_NewRef(self->loop); }

static PyObject *waiter_set_result(Waiter *self, PyObject *Py_UNUSED(result)) {
    if (self->state == PARKED) {
        self->state = WOKEN;
        Py_CLEAR(self->step);
        if (waiter_schedule(self)) return NULL;
    }
    Py_RETURN_NONE;
}

/* What comes from here on is for whoever looks next. */
static int waiter_leave(Waiter *self, enum waiting state) {
    PyObject *inbox = self->step ? self->step->inbox : NULL, *waiters = inbox ? get(inbox, INBOX_WAITERS) : NULL;
    for (Py_ssize_t i = 0; waiters && PyList_Check(waiters) && i < PyList_GET_SIZE(waiters); i++)
        if (PyList_GET_ITEM(waiters, i) == (PyObject *)self && PyList_SetSlice(waiters, i, i + 1, NULL)) return -1;
    self->state = (char)state;
    Py_CLEAR(self->step);
    return 0;
}

static PyObject *waiter_cancel(Waiter *self, PyObject *args, PyObject *keywords) {
    static char *known[] = {"msg", NULL};
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O", known, &message)) return NULL;
    if (self->state != PARKED) Py_RETURN_FALSE;
    if (waiter_leave(self, CANCELLED)) return NULL;
    Py_XSETREF(self->message, Py_NewRef(message));
    if (waiter_schedule(self)) return NULL;
    Py_RETURN_TRUE;
}

static PyObject *waiter_result(Waiter *self, PyObject *Py_UNUSED(ignored)) {
    if (self->state == CANCELLED) {
        self->state = IDLE;
        if (self->message && self->message != Py_None) PyErr_SetObject(cancelled_error, self->message);
        else PyErr_SetNone(cancelled_error);
        return NULL;
    }
    if (self->state == PARKED) {
        PyErr_SetString(PyExc_RuntimeError, "nothing has come yet");
        return NULL;
    }
    self->state = IDLE;
    Py_RETURN_NONE;
}

static PyMethodDef waiter_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))waiter_add_done_callback, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"done", (PyCFunction)waiter_done, METH_NOARGS, NULL},
    {"cancelled", (PyCFunction)waiter_cancelled, METH_NOARGS, NULL},
    {"get_loop", (PyCFunction)waiter_get_loop, METH_NOARGS, NULL},
    {"set_result", (PyCFunction)waiter_set_result, METH_O, NULL},
    {"cancel", (PyCFunction)(void (*)(void))waiter_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"result", (PyCFunction)waiter_result, METH_NOARGS, NULL},
    {NULL},
};

static PyMemberDef waiter_members[] = {
    {"_asyncio_future_blocking", T_BOOL, offsetof(Waiter, is_blocking), 0, NULL},
    {NULL},
};

static PyTypeObject WaiterType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "calls.quick.Waiter",
    .tp_basicsize = sizeof(Waiter),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)waiter_dealloc,
    .tp_traverse = (traverseproc)waiter_traverse,
    .tp_clear = (inquiry)waiter_clear,
    .tp_methods = waiter_methods,
    .tp_members = waiter_members,
};

/* --- reading an inbox --------------------------------------------------------------------------------------------- */

static int count_readers(Step *self, int by) {
    int ok = 1;
    long long readers = integer(self->inbox, INBOX_READERS, &ok);
    return ok ? set(self->inbox, INBOX_READERS, PyLong_FromLongLong(readers + by)) : 0;
}

static int step_finish(Step *self) {
    if (self->is_finished) return 0;
    self->is_finished = 1;
    return self->is_counted ? count_readers(self, -1) : 0;
}

static int step_traverse(Step *self, visitproc visit, void *arg) {
    Py_VISIT(self->inbox);
    Py_VISIT(self->given);
    Py_VISIT(self->waiter);
    return 0;
}

static int step_clear(Step *self) {
    if (self->inbox) step_finish(self);
    Py_CLEAR(self->inbox);
    Py_CLEAR(self->given);
    Py_CLEAR(self->waiter);
    return 0;
}

static void step_dealloc(Step *self) {
    PyObject_GC_UnTrack(self);
    step_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *step_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *known[] = {"inbox", "loop", "only_media", NULL};
    PyObject *inbox, *loop;
    int only_media = 0;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO|$p", known, &inbox, &loop, &only_media)) return NULL;
    if (locate(Py_TYPE(inbox), INBOX_EVENTS, INBOX_READERS)) return NULL;
    if (locate(Py_TYPE(get(inbox, INBOX_LIFETIME)), LIFETIME_IS_OVER, LIFETIME_IS_OVER)) return NULL;
    Step *self = (Step *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->is_finished = 1;
    self->inbox = Py_NewRef(inbox);
    self->is_only_media = (char)only_media;
    self->waiter = (Waiter *)WaiterType.tp_alloc(&WaiterType, 0);
    if (!self->waiter) {
        Py_DECREF(self);
        return NULL;
    }
    self->waiter->loop = Py_NewRef(loop);
    self->is_finished = 0;
    return (PyObject *)self;
}

/* The next event that waits, as the inbox gives it; NULL without an error if there is none. */
static PyObject *step_take(Step *self) {
    PyObject *inbox = self->inbox, *only_media = self->is_only_media ? Py_True : Py_False;
    if (PyObject_Size(get(inbox, INBOX_EVENTS)) < 1) return NULL;
    PyObject *arguments[] = {inbox, only_media}, *event = PyObject_VectorcallMethod(word_take, arguments, 1, only_media_name);
    if (event == Py_None) Py_CLEAR(event);
    return event;
}

static int step_park(Step *self) {
    Waiter *waiter = self->waiter;
    /* One who was woken or cancelled has yet to be told. */
    if (waiter->state != IDLE) {
        PyErr_SetString(PyExc_RuntimeError, "somebody else waits for the next event of this iterator");
        return -1;
    }
    PyObject *waiters = get(self->inbox, INBOX_WAITERS);
    if (!PyList_Check(waiters) || PyList_Append(waiters, (PyObject *)waiter)) return -1;
    Py_XSETREF(waiter->step, (Step *)Py_NewRef(self));
    waiter->state = PARKED;
    waiter->is_blocking = 1;
    return 0;
}

static PySendResult step_send(Step *self, PyObject *Py_UNUSED(value), PyObject **result) {
    *result = NULL;
    /* A generator runs from its first step on. */
    if (!self->is_counted && !self->is_finished) {
        if (count_readers(self, 1)) return PYGEN_ERROR;
        self->is_counted = 1;
    }
    if (self->given) {
        *result = self->given;
        self->given = NULL;
        return PYGEN_RETURN;
    }
    if (!self->is_finished) {
        if ((*result = step_take(self))) return PYGEN_RETURN;
        if (PyErr_Occurred()) return PYGEN_ERROR;
    }
    if (self->is_finished || get(get(self->inbox, INBOX_LIFETIME), LIFETIME_IS_OVER) == Py_True) {
        if (!step_finish(self)) PyErr_SetNone(PyExc_StopAsyncIteration);
        return PYGEN_ERROR;
    }
    if (step_park(self)) return PYGEN_ERROR;
    *result = Py_NewRef(self->waiter);
    return PYGEN_NEXT;
}

static PyObject *step_next(Step *self) {
    PyObject *result;
    switch (step_send(self, Py_None, &result)) {
        case PYGEN_NEXT: return result;
        case PYGEN_ERROR: return NULL;
        default: {
            PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
            Py_DECREF(result);
            if (stop) PyErr_SetObject(PyExc_StopIteration, stop), Py_DECREF(stop);
            return NULL;
        }
    }
}

static PyObject *step_self(PyObject *self) { return Py_NewRef(self); }

/* Ends it, as an async generator's does: whoever awaits what it returns waits for nothing. */
static PyObject *step_aclose(Step *self) {
    if (self->waiter->state != IDLE) {
        PyErr_SetString(PyExc_RuntimeError, "somebody waits for the next event of this iterator");
        return NULL;
    }
    if (step_finish(self)) return NULL;
    PyObject *future = PyObject_CallMethod(self->waiter->loop, "create_future", NULL);
    PyObject *done = future ? PyObject_CallMethod(future, "set_result", "O", Py_None) : NULL;
    if (!done) Py_CLEAR(future);
    Py_XDECREF(done);
    return future;
}

/* Whoever waited here waits no more: cancelled with a coroutine around it, or with a loop that is closed. */
static int step_leave(Step *self) {
    Waiter *waiter = self->waiter;
    if (waiter->state == PARKED && waiter_leave(waiter, IDLE)) return -1;
    waiter->state = IDLE;
    Py_CLEAR(waiter->callback);
    Py_CLEAR(waiter->context);
    return 0;
}

/* The next three make a coroutine of what `anext` returns, as they do of a generator's. */
static PyObject *step_send_value(Step *self, PyObject *Py_UNUSED(value)) { return step_next(self); }

static PyObject *step_throw(Step *self, PyObject *args) {
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_ParseTuple(args, "O|OO", &type, &value, &traceback)) return NULL;
    if (step_leave(self)) return NULL;
    if (PyExceptionInstance_Check(type)) PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    else if (PyExceptionClass_Check(type)) PyErr_SetObject(type, value == Py_None ? NULL : value);
    else PyErr_SetString(PyExc_TypeError, "only an exception can be thrown");
    return NULL;
}

static PyObject *step_close(Step *self, PyObject *Py_UNUSED(ignored)) {
    if (step_leave(self)) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef step_methods[] = {
    {"send", (PyCFunction)step_send_value, METH_O, NULL},
    {"throw", (PyCFunction)step_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)step_close, METH_NOARGS, NULL},
    {NULL},
};

static PyAsyncMethods step_async = {
    .am_await = step_self,
    .am_send = (sendfunc)step_send,
};

static PyTypeObject StepType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "calls.quick.Step",
    .tp_basicsize = sizeof(Step),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)step_dealloc,
    .tp_traverse = (traverseproc)step_traverse,
    .tp_clear = (inquiry)step_clear,
    .tp_iter = step_self,
    .tp_iternext = (iternextfunc)step_next,
    .tp_as_async = &step_async,
    .tp_methods = step_methods,
};

/* An iterator over an inbox. Nothing can be awaited but what `anext` gives: `await stream.media()` is a mistake. */
typedef struct {
    PyObject_HEAD
    Step *step;
} Reader;

static PyTypeObject ReaderType;

static int reader_traverse(Reader *self, visitproc visit, void *arg) {
    Py_VISIT(self->step);
    return 0;
}

static int reader_clear(Reader *self) {
    Py_CLEAR(self->step);
    return 0;
}

static void reader_dealloc(Reader *self) {
    PyObject_GC_UnTrack(self);
    reader_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *reader_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    PyObject *step = step_new(&StepType, args, keywords);
    Reader *self = step ? (Reader *)type->tp_alloc(type, 0) : NULL;
    if (self) self->step = (Step *)step;
    else Py_XDECREF(step);
    return (PyObject *)self;
}

static PyObject *reader_self(PyObject *self) { return Py_NewRef(self); }

static PyObject *reader_anext(Reader *self) { return Py_NewRef(self->step); }

static PyObject *reader_aclose(Reader *self, PyObject *Py_UNUSED(ignored)) { return step_aclose(self->step); }

static PyMethodDef reader_methods[] = {
    {"aclose", (PyCFunction)reader_aclose, METH_NOARGS, NULL},
    {NULL},
};

static PyAsyncMethods reader_async = {
    .am_aiter = reader_self,
    .am_anext = (unaryfunc)reader_anext,
};

static PyTypeObject ReaderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "calls.quick.Reader",
    .tp_basicsize = sizeof(Reader),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = reader_new,
    .tp_dealloc = (destructor)reader_dealloc,
    .tp_traverse = (traverseproc)reader_traverse,
    .tp_clear = (inquiry)reader_clear,
    .tp_as_async = &reader_async,
    .tp_methods = reader_methods,
};

/* Gives a frame straight to the only one who waits, and runs them. 0 if it has to go by the inbox; -1 for an error. */
static int give(PyObject *inbox, PyObject *media) {
    int ok = 1;
    PyObject *waiters = get(inbox, INBOX_WAITERS);
    if (!PyList_Check(waiters) || PyList_GET_SIZE(waiters) != 1 || !current_tasks) return 0;
    Waiter *waiter = (Waiter *)PyList_GET_ITEM(waiters, 0);
    if (!Py_IS_TYPE(waiter, &WaiterType) || waiter->state != PARKED || !waiter->callback) return 0;
    if (integer(inbox, INBOX_QUEUED, &ok) || integer(inbox, INBOX_ROOM, &ok) <= 0 || !ok) return 0;
    if (PyObject_Size(get(inbox, INBOX_EVENTS))) return 0;
    /* Whoever is called from a task cannot run another one. */
    if (PyDict_GetItemWithError(current_tasks, waiter->loop) || PyErr_Occurred()) return PyErr_Occurred() ? -1 : 0;
    if (PyContext_Enter(waiter->context)) {
        /* Whatever runs shares its context. */
        PyErr_Clear();
        return 0;
    }
    Py_INCREF(waiter);
    PyObject *callback = waiter->callback, *context = waiter->context, *done = NULL;
    if (PyList_SetSlice(waiters, 0, 1, NULL)) {
        PyContext_Exit(context), Py_DECREF(waiter);
        return -1;
    }
    waiter->callback = waiter->context = NULL;
    waiter->state = IDLE;
    Py_XSETREF(waiter->step->given, Py_NewRef(media));
    /* Who has left its loop is gone at once. */
    Py_CLEAR(waiter->step);
    done = PyObject_CallOneArg(callback, (PyObject *)waiter);
    if (PyContext_Exit(context)) Py_CLEAR(done);
    /* A handler's errors are its task's; what is left is a program that ends. */
    if (!done) PyErr_WriteUnraisable(callback);
    Py_XDECREF(done), Py_DECREF(callback), Py_DECREF(context), Py_DECREF(waiter);
    return 1;
}

/* --- the path of a frame ------------------------------------------------------------------------------------------ */

typedef struct {
    PyObject_HEAD
    PyObject *arrivals, *outgoing, *media_type, *streaming, *inbound;
    /* How much waits in the transport, what writes there, and who takes what is not for us. */
    PyObject *waiting, *write, *receiver;
    int fd;
    char is_open, is_between;
} Path;

static int path_traverse(Path *self, visitproc visit, void *arg) {
    Py_VISIT(self->arrivals);
    Py_VISIT(self->outgoing);
    Py_VISIT(self->media_type);
    Py_VISIT(self->streaming);
    Py_VISIT(self->inbound);
    Py_VISIT(self->waiting);
    Py_VISIT(self->receiver);
    Py_VISIT(self->write);
    return 0;
}

static int path_clear(Path *self) {
    Py_CLEAR(self->arrivals);
    Py_CLEAR(self->outgoing);
    Py_CLEAR(self->media_type);
    Py_CLEAR(self->streaming);
    Py_CLEAR(self->inbound);
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->receiver);
    Py_CLEAR(self->write);
    return 0;
}

static void path_dealloc(Path *self) {
    PyObject_GC_UnTrack(self);
    path_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static int locate_all(PyObject *arrivals, PyObject *outgoing) {
    if (locate(Py_TYPE(arrivals), ARRIVALS_PROTOCOL, ARRIVALS_GAPS)) return -1;
    PyObject *inbox = get(arrivals, ARRIVALS_INBOX);
    if (locate(Py_TYPE(get(arrivals, ARRIVALS_PROTOCOL)), PROTOCOL_STATE, PROTOCOL_PREFIX)) return -1;
    if (locate(Py_TYPE(get(arrivals, ARRIVALS_TAPE)), TAPE_FIRST, TAPE_RECEIVED)) return -1;
    if (locate(Py_TYPE(get(arrivals, ARRIVALS_LANE)), LANE_END, LANE_PAUSED)) return -1;
    if (locate(Py_TYPE(get(arrivals, ARRIVALS_CLOCK)), CLOCK_START, CLOCK_JITTER)) return -1;
    if (locate(Py_TYPE(inbox), INBOX_EVENTS, INBOX_READERS)) return -1;
    if (locate(Py_TYPE(get(inbox, INBOX_LIFETIME)), LIFETIME_IS_OVER, LIFETIME_IS_OVER)) return -1;
    if (locate(Py_TYPE(outgoing), OUTGOING_IS_IDLE, OUTGOING_PLAYBACK)) return -1;
    if (locate(Py_TYPE(get(outgoing, OUTGOING_SPEECHES)), SPEECHES_IS_FLYING, SPEECHES_CURRENT)) return -1;
    return locate(Py_TYPE(get(outgoing, OUTGOING_PLAYBACK)), PLAYBACK_SEGMENTS, PLAYBACK_CLEARED);
}

static PyObject *path_new(PyTypeObject *type, PyObject *args, PyObject *keywords) {
    static char *known[] = {"arrivals", "outgoing", "types", NULL};
    PyObject *arrivals, *outgoing, *media, *segment, *opened, *streaming;
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "OO(O!O!O!O)", known, &arrivals, &outgoing, &PyType_Type, &media,
                                     &PyType_Type, &segment, &PyType_Type, &opened, &streaming))
        return NULL;
    if (locate_all(arrivals, outgoing) || locate((PyTypeObject *)segment, SEGMENT_AUDIO, SEGMENT_AUDIO) ||
        locate((PyTypeObject *)opened, OPENED_PLAYING, OPENED_PLAYING))
        return NULL;
    Path *self = (Path *)type->tp_alloc(type, 0);
    if (!self) return NULL;
    self->arrivals = Py_NewRef(arrivals);
    self->outgoing = Py_NewRef(outgoing);
    self->media_type = Py_NewRef(media);
    self->streaming = Py_NewRef(streaming);
    self->inbound = PyUnicode_InternFromString("inbound");
    self->fd = -1;
    if (!self->inbound) Py_CLEAR(self);
    return (PyObject *)self;
}

/* Whether the stream takes this message now, and in its turn. Through *end where its audio would end. */
static int is_in_turn(Path *self, const struct message *message, double now, long long *end) {
    PyObject *arrivals = self->arrivals, *protocol = get(arrivals, ARRIVALS_PROTOCOL);
    PyObject *tape = get(arrivals, ARRIVALS_TAPE), *lane = get(arrivals, ARRIVALS_LANE);
    PyObject *clock = get(arrivals, ARRIVALS_CLOCK), *sid = get(protocol, PROTOCOL_SID), *run = get(lane, LANE_RUN);
    int ok = 1;
    if (message->is_outbound || get(protocol, PROTOCOL_STATE) != self->streaming) return 0;
    if (!PyUnicode_CheckExact(sid) || !PyUnicode_IS_COMPACT_ASCII(sid)) return 0;
    if (PyUnicode_GET_LENGTH(sid) != message->sid_size || memcmp(PyUnicode_DATA(sid), message->sid, (size_t)message->sid_size))
        return 0;
    if (integer(protocol, PROTOCOL_NEXT, &ok) != message->sequence || !ok) return 0;
    if (integer(protocol, PROTOCOL_GAPS, &ok) != integer(arrivals, ARRIVALS_GAPS, &ok) || !ok) return 0;
    if (get(tape, TAPE_FIRST) == Py_None || get(lane, LANE_PAUSED) != Py_False || !PyByteArray_CheckExact(run)) return 0;
    long long position = message->timestamp * SAMPLES_PER_MS - integer(tape, TAPE_ORIGIN, &ok);
    long long elapsed = (long long)(real(clock, CLOCK_START, &ok) + now * SAMPLE_RATE);
    if (position != integer(lane, LANE_END, &ok) || position < 0 || position > elapsed + TOLERANCE || !ok) return 0;
    *end = position + message->payload_bytes;
    return 1;
}

/* What StreamClock.arrived does. */
static int note_arrival(PyObject *clock, long long end, double now) {
    int ok = 1;
    double start = real(clock, CLOCK_START, &ok), jitter = real(clock, CLOCK_JITTER, &ok);
    double lead = (double)end - now * SAMPLE_RATE;
    jitter += (fabs(lead - real(clock, CLOCK_ARRIVAL, &ok)) - jitter) / 16;
    if (!ok) return 0;
    return set(clock, CLOCK_JITTER, PyFloat_FromDouble(jitter)) || set(clock, CLOCK_ARRIVAL, PyFloat_FromDouble(lead)) ||
           set(clock, CLOCK_LEAD, PyFloat_FromDouble(lead < start ? lead : start));
}

static int add(PyObject *owner, enum slot slot, long long by) {
    int ok = 1;
    long long before = integer(owner, slot, &ok);
    return ok ? set(owner, slot, PyLong_FromLongLong(before + by)) : -1;
}

/* Twice the room that is needed is kept, where Python itself would move a short one for each frame. */
static int append(PyObject *bytes, const char *audio, Py_ssize_t size) {
    Py_ssize_t before = PyByteArray_GET_SIZE(bytes), after = before + size;
    if (after >= ((PyByteArrayObject *)bytes)->ob_alloc && PyByteArray_Resize(bytes, 2 * after)) return -1;
    if (PyByteArray_Resize(bytes, after)) return -1;
    memcpy(PyByteArray_AS_STRING(bytes) + before, audio, (size_t)size);
    return 0;
}

static PyObject *media_of(Path *self, const struct message *message, PyObject *payload) {
    PyObject *timestamp = PyLong_FromLongLong(message->timestamp), *chunk = PyLong_FromLongLong(message->chunk);
    PyObject *fields[] = {timestamp, payload, self->inbound, chunk}, *media = NULL;
    if (timestamp && chunk) media = PyObject_Vectorcall(self->media_type, fields, 4, NULL);
    Py_XDECREF(timestamp), Py_XDECREF(chunk);
    return media;
}

/* Tells who listens, and who iterates. */
static int hand_over(PyObject *arrivals, PyObject *media, long long end) {
    PyObject *ear = get(arrivals, ARRIVALS_EAR), *inbox, *told;
    if (ear != Py_None) {
        PyObject *position = PyLong_FromLongLong(end);
        if (!position) return -1;
        Py_INCREF(ear);
        told = PyObject_CallMethodObjArgs(ear, word_hear, position, media, NULL);
        Py_DECREF(ear), Py_DECREF(position);
        if (!told) return -1;
        Py_DECREF(told);
    }
    inbox = Py_NewRef(get(arrivals, ARRIVALS_INBOX));
    int given = give(inbox, media);
    if (!given) {
        told = PyObject_CallMethodOneArg(inbox, word_put_media, media);
        given = told ? 1 : -1;
        Py_XDECREF(told);
    }
    Py_DECREF(inbox);
    return given < 0 ? -1 : 0;
}

/* Takes the frame that begins there. Its size; 0 if it is none for us, and nothing has changed; -1 for an error. */
static Py_ssize_t hear_frame(Path *self, const unsigned char *frame, Py_ssize_t left) {
    unsigned char text[LONGEST];
    struct message message;
    if (left < HEAD || frame[0] != 0x81 || frame[1] != 0xFE) return 0;
    Py_ssize_t size = frame[2] << 8 | frame[3];
    if (size < SHORTEST || size > LONGEST || left < HEAD + size) return 0;
    uint32_t mask;
    memcpy(&mask, frame + 4, 4);
    uint64_t wide = (uint64_t)mask << 32 | mask;
    Py_ssize_t i = 0;
    for (uint64_t eight; i + 8 <= size; i += 8) {
        memcpy(&eight, frame + HEAD + i, 8);
        eight ^= wide;
        memcpy(text + i, &eight, 8);
    }
    for (; i < size; i++) text[i] = frame[HEAD + i] ^ frame[4 + i % 4];

    long long end;
    double now = monotonic();
    if (!read_message(text, size, &message) || !is_in_turn(self, &message, now, &end)) return 0;
    PyObject *payload = PyBytes_FromStringAndSize(NULL, message.payload_bytes);
    if (!payload) return -1;
    from_base64(message.payload, (unsigned char *)PyBytes_AS_STRING(payload), message.payload_bytes);
    PyObject *media = media_of(self, &message, payload), *arrivals = Py_NewRef(self->arrivals);
    PyObject *lane = get(arrivals, ARRIVALS_LANE);
    int failed = !media || append(get(lane, LANE_RUN), PyBytes_AS_STRING(payload), message.payload_bytes) ||
                 set(lane, LANE_END, PyLong_FromLongLong(end)) || add(get(arrivals, ARRIVALS_TAPE), TAPE_RECEIVED, 1) ||
                 add(get(arrivals, ARRIVALS_PROTOCOL), PROTOCOL_NEXT, 1) ||
                 note_arrival(get(arrivals, ARRIVALS_CLOCK), end, now) || hand_over(arrivals, media, end);
    Py_XDECREF(media), Py_DECREF(payload), Py_DECREF(arrivals);
    return failed ? -1 : HEAD + size;
}

/* How many bytes of whole frames it takes from the beginning; -1 for an error. */
static Py_ssize_t hear(Path *self, const unsigned char *bytes, Py_ssize_t size) {
    Py_ssize_t taken = 0, one = 0;
    while (self->is_open && self->is_between && taken < size && (one = hear_frame(self, bytes + taken, size - taken)) > 0)
        taken += one;
    return one < 0 ? -1 : taken;
}

PyDoc_STRVAR(hear_doc, "data_received(data)\n\nTakes whole frames from the beginning of what has come. The rest is the receiver's, "
                       "from the first frame on that is not in its turn.");

static PyObject *path_data_received(Path *self, PyObject *data) {
    if (!PyBytes_CheckExact(data)) return PyErr_Format(PyExc_TypeError, "a socket gives bytes");
    Py_INCREF(self);
    PyObject *received = NULL, *rest = NULL;
    Py_ssize_t size = PyBytes_GET_SIZE(data), taken = hear(self, (const unsigned char *)PyBytes_AS_STRING(data), size);
    if (taken == size) received = Py_NewRef(Py_None);
    else if (taken == 0) rest = Py_NewRef(data);
    else if (taken > 0) rest = PyBytes_FromStringAndSize(PyBytes_AS_STRING(data) + taken, size - taken);
    if (rest && self->receiver) {
        PyObject *receiver = Py_NewRef(self->receiver);
        received = PyObject_CallOneArg(receiver, rest);
        Py_DECREF(receiver);
    } else if (rest) {
        PyErr_SetString(PyExc_RuntimeError, "it was never opened");
    }
    Py_XDECREF(rest), Py_DECREF(self);
    return received;
}

/* What Playback.play does with a frame of 160 bytes. */
static int note_played(PyObject *playback, long long now, PyObject *audio) {
    int ok = 1;
    long long sent = integer(playback, PLAYBACK_SENT, &ok), end = integer(playback, PLAYBACK_END, &ok);
    PyObject *segments = get(playback, PLAYBACK_SEGMENTS);
    if (ok && sent && now - end <= ADJACENT && get(playback, PLAYBACK_SEALED) == Py_False && PyObject_Size(segments) > 0) {
        PyObject *last = PySequence_GetItem(segments, -1);
        if (!last) return -1;
        int failed = append(get(last, SEGMENT_AUDIO), PyBytes_AS_STRING(audio), FRAME_SAMPLES) ||
                     set(playback, PLAYBACK_END, PyLong_FromLongLong(end + FRAME_SAMPLES)) ||
                     set(playback, PLAYBACK_SENT, PyLong_FromLongLong(sent + FRAME_SAMPLES));
        Py_DECREF(last);
        return failed;
    }
    PyObject *position = PyLong_FromLongLong(now), *played = NULL;
    if (position) played = PyObject_CallMethodObjArgs(playback, word_play, position, audio, NULL);
    Py_XDECREF(position), Py_XDECREF(played);
    return played ? 0 : -1;
}

/* Sends what the kernel takes, and gives the transport the rest. */
static int send_all(Path *self, const char *bytes, Py_ssize_t size) {
    PyObject *write = self->write;
    /* Its books may have run a finalizer that has closed it. */
    if (self->fd < 0 || !write) return 0;
    ssize_t sent = send(self->fd, bytes, (size_t)size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == size) return 0;
    /* Whatever is wrong, the transport finds out, and says so to its protocol. */
    PyObject *rest = PyBytes_FromStringAndSize(bytes + (sent > 0 ? sent : 0), size - (sent > 0 ? sent : 0));
    Py_INCREF(write);
    PyObject *written = rest ? PyObject_CallOneArg(write, rest) : NULL;
    Py_XDECREF(rest), Py_XDECREF(written), Py_DECREF(write);
    return written ? 0 : -1;
}

/* Whether something may be written past the transport. */
static int is_free(Path *self) {
    if (!self->is_open || self->fd < 0 || !self->waiting || !self->write) return 0;
    PyObject *ask = Py_NewRef(self->waiting), *waiting = PyObject_CallNoArgs(ask);
    Py_DECREF(ask);
    if (!waiting) return -1;
    int is_empty = PyObject_Not(waiting);
    Py_DECREF(waiting);
    return is_empty < 0 || self->is_open ? is_empty : 0;
}

/* What is said in chunks at the moment, if a frame may go before anything else and is one more of them; else NULL. */
static PyObject *chunks(Path *self) {
    PyObject *outgoing = self->outgoing, *speeches = get(outgoing, OUTGOING_SPEECHES);
    PyObject *playback = get(outgoing, OUTGOING_PLAYBACK), *protocol = get(self->arrivals, ARRIVALS_PROTOCOL);
    int ok = 1;
    if (get(outgoing, OUTGOING_IS_IDLE) != Py_True || get(speeches, SPEECHES_IS_FLYING) != Py_True) return NULL;
    if (get(get(get(self->arrivals, ARRIVALS_INBOX), INBOX_LIFETIME), LIFETIME_IS_OVER) != Py_False) return NULL;
    if (get(protocol, PROTOCOL_STATE) != self->streaming || get(protocol, PROTOCOL_BOTH_WAYS) != Py_True) return NULL;
    long long sent = integer(playback, PLAYBACK_SENT, &ok), heard = integer(playback, PLAYBACK_HEARD, &ok);
    if (sent - heard - integer(playback, PLAYBACK_CLEARED, &ok) >= LOOK_AHEAD || !ok) return NULL;
    PyObject *opened = get(speeches, SPEECHES_CURRENT);
    PyObject *playing = opened == Py_None ? NULL : get(opened, OPENED_PLAYING);
    return playing == Py_None ? NULL : playing;
}

/* The frame of these 160 bytes; its size. */
static Py_ssize_t write_frame(char *frame, PyObject *prefix, PyObject *audio) {
    char *to = frame + 4;
    memcpy(to, PyUnicode_DATA(prefix), (size_t)PyUnicode_GET_LENGTH(prefix));
    to += PyUnicode_GET_LENGTH(prefix);
    to = to_base64((const unsigned char *)PyBytes_AS_STRING(audio), FRAME_SAMPLES, to);
    memcpy(to, "\"}}", 3);
    Py_ssize_t size = to + 3 - frame - 4;
    frame[0] = (char)0x81, frame[1] = 0x7E, frame[2] = (char)(size >> 8), frame[3] = (char)size;
    return size + 4;
}

PyDoc_STRVAR(say_doc, "say(audio) -> Playing | None\n\nSends a frame of 160 bytes at once, and notes that it lies in Twilio's "
                      "buffer. None, and nothing has changed, if it has to go the long way.");

static PyObject *path_say(Path *self, PyObject *audio) {
    PyObject *prefix = get(get(self->arrivals, ARRIVALS_PROTOCOL), PROTOCOL_PREFIX);
    PyObject *clock = get(self->arrivals, ARRIVALS_CLOCK), *playing;
    int ok = 1;
    char frame[512];
    if (!PyBytes_CheckExact(audio) || PyBytes_GET_SIZE(audio) != FRAME_SAMPLES || !(playing = chunks(self))) Py_RETURN_NONE;
    if (!PyUnicode_CheckExact(prefix) || !PyUnicode_IS_COMPACT_ASCII(prefix) || PyUnicode_GET_LENGTH(prefix) > 200)
        Py_RETURN_NONE;
    long long now = (long long)(real(clock, CLOCK_LEAD, &ok) + monotonic() * SAMPLE_RATE);
    long long last = integer(clock, CLOCK_LAST, &ok);
    Py_INCREF(playing);
    int free_now = ok ? is_free(self) : 0;
    if (free_now <= 0) {
        Py_DECREF(playing);
        return free_now ? NULL : Py_NewRef(Py_None);
    }
    if ((now > last && set(clock, CLOCK_LAST, PyLong_FromLongLong(now))) ||
        note_played(get(self->outgoing, OUTGOING_PLAYBACK), now > last ? now : last, audio) ||
        send_all(self, frame, write_frame(frame, prefix, audio)))
        Py_CLEAR(playing);
    return playing;
}

PyDoc_STRVAR(open_doc, "open(fd, waiting, write, receiver)\n\nThe socket may be written to: by its number past the transport (-1 "
                       "if it may not), while `waiting()` is 0; what it does not take goes to `write`. What comes and is not "
                       "taken goes to `receiver`.");

static PyObject *path_open(Path *self, PyObject *args) {
    PyObject *waiting, *write, *receiver;
    int fd;
    if (!PyArg_ParseTuple(args, "iOOO", &fd, &waiting, &write, &receiver)) return NULL;
    self->fd = fd;
    Py_XSETREF(self->waiting, Py_NewRef(waiting));
    Py_XSETREF(self->write, Py_NewRef(write));
    Py_XSETREF(self->receiver, Py_NewRef(receiver));
    self->is_open = self->is_between = 1;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(close_doc, "close()\n\nFrom now on nothing is heard or said here: its number may soon be another socket's.");

static PyObject *path_close(Path *self, PyObject *Py_UNUSED(ignored)) {
    self->is_open = 0;
    self->fd = -1;
    Py_CLEAR(self->waiting);
    Py_CLEAR(self->write);
    Py_RETURN_NONE;
}

static PyMethodDef path_methods[] = {
    {"data_received", (PyCFunction)path_data_received, METH_O, hear_doc},
    {"say", (PyCFunction)path_say, METH_O, say_doc},
    {"open", (PyCFunction)path_open, METH_VARARGS, open_doc},
    {"close", (PyCFunction)path_close, METH_NOARGS, close_doc},
    {NULL},
};

static PyMemberDef path_members[] = {
    {"is_open", T_BOOL, offsetof(Path, is_open), READONLY, NULL},
    {"is_between", T_BOOL, offsetof(Path, is_between), 0, NULL},
    {NULL},
};

static PyTypeObject PathType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "calls.quick.Path",
    .tp_basicsize = sizeof(Path),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = path_new,
    .tp_dealloc = (destructor)path_dealloc,
    .tp_traverse = (traverseproc)path_traverse,
    .tp_clear = (inquiry)path_clear,
    .tp_methods = path_methods,
    .tp_members = path_members,
};

/* --- peaks -------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(peaks_doc, "peaks(audio, loudness, samples, step) -> bytes\n\nWhat calls.media.audio.peaks gives: of every `samples` the "
                        "loudest of each `step`th, by a table of 256 bytes.");

static PyObject *quick_peaks(PyObject *Py_UNUSED(module), PyObject *args) {
    Py_buffer audio, loudness;
    Py_ssize_t samples, step;
    if (!PyArg_ParseTuple(args, "y*y*nn", &audio, &loudness, &samples, &step)) return NULL;
    PyObject *found = NULL;
    if (samples < 1 || step < 1 || loudness.len != 256) {
        PyErr_SetString(PyExc_ValueError, "a table of 256 bytes, and steps and runs of one sample at least");
        goto release;
    }
    /* Longer ones than all of it are the same, and sums of them might overflow. */
    if (samples > audio.len) samples = audio.len ? audio.len : 1;
    if (step > samples) step = samples;
    if ((found = PyBytes_FromStringAndSize(NULL, (audio.len + samples - 1) / samples))) {
        const unsigned char *from = audio.buf, *table = loudness.buf;
        unsigned char *out = (unsigned char *)PyBytes_AS_STRING(found);
        for (Py_ssize_t start = 0; start < audio.len; start += samples) {
            Py_ssize_t end = start + samples < audio.len ? start + samples : audio.len;
            unsigned char most = 0;
            for (Py_ssize_t i = start; i < end; i += step) most = table[from[i]] > most ? table[from[i]] : most;
            *out++ = most;
        }
    }
release:
    PyBuffer_Release(&audio), PyBuffer_Release(&loudness);
    return found;
}

/* --- the module --------------------------------------------------------------------------------------------------- */

static PyMethodDef functions[] = {
    {"peaks", quick_peaks, METH_VARARGS, peaks_doc},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, .m_name = "_quick", .m_doc = "The way of a frame in C.", .m_size = -1, .m_methods = functions,
};

static int intern_words(void) {
    struct { PyObject **word; const char *text; } words[] = {
        {&word_call_soon, "call_soon"}, {&word_context, "context"}, {&word_put_media, "put_media"}, {&word_hear, "hear"},
        {&word_take, "take"}, {&word_play, "play"},
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (!(*words[i].word = PyUnicode_InternFromString(words[i].text))) return -1;
    only_media_name = Py_BuildValue("(s)", "only_media");
    return only_media_name ? 0 : -1;
}

static int import_asyncio(void) {
    /* asyncio itself first, or there are two of _asyncio. Its books alone are those of its tasks: from 3.14 on, those of
     * asyncio.tasks are empty. */
    PyObject *exceptions = PyImport_ImportModule("asyncio.exceptions"), *tasks = NULL;
    if (exceptions && !(tasks = PyImport_ImportModule("_asyncio"))) PyErr_Clear();
    if (tasks && !(current_tasks = PyObject_GetAttrString(tasks, "_current_tasks"))) PyErr_Clear();
    if (current_tasks && !PyDict_Check(current_tasks)) Py_CLEAR(current_tasks);
    if (exceptions) cancelled_error = PyObject_GetAttrString(exceptions, "CancelledError");
    Py_XDECREF(tasks), Py_XDECREF(exceptions);
    return cancelled_error ? 0 : -1;
}

PyMODINIT_FUNC PyInit__quick(void) {
    make_tables();
    if (intern_words() || import_asyncio()) return NULL;
    PyObject *made = PyModule_Create(&module);
    if (!made) return NULL;
    if (PyModule_AddStringConstant(made, "source", SOURCE) || PyType_Ready(&WaiterType) || PyType_Ready(&StepType) ||
        PyModule_AddType(made, &ReaderType) || PyModule_AddType(made, &PathType)) Py_CLEAR(made);
    return made;
}
