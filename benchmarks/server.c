/* A server that takes what is sent to Statsig, reads each body to its end, and counts what it received.
 *
 *     cc -O2 -pthread -o server server.c -lz
 *     ./server EVENTS LATENCY_MS
 *
 * It listens on a free port of 127.0.0.1, which is the first line that it prints, and ends when its standard input
 * does. A thread serves a connection, and answers LATENCY_MS after the whole body was read. The events that count are
 * those named `order_completed`; each has the metadata key `order_id` with `order-NUMBER`, whose numbers from 0 to
 * EVENTS - 1 are ticked off, so that an event which comes twice stands in for none that is lost.
 *
 *     POST /v1/log_event   202 {"success": true}, as Statsig answers
 *     GET /counts          what was received since the last reset, and the CPU seconds that the server has used
 *     POST /reset          counts from nothing
 *     anything else        what an SDK downloads when it starts: a project without gates and without id lists
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>

static const char NAME[] = "\"eventName\"", EVENT[] = "\"order_completed\"", KEY[] = "\"order_id\"";
static const char ACCEPTED[] = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 17\r\n\r\n"
                               "{\"success\": true}";
static const char REFUSED[] = "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
static const char PROJECT_V1[] = "{\"has_updates\": true, \"time\": 1, \"feature_gates\": [], \"dynamic_configs\": [],"
                                 " \"layer_configs\": [], \"layers\": {}, \"id_lists\": {}}";
static const char PROJECT_V2[] = "{\"has_updates\": true, \"time\": 1, \"response_format\": \"dcs-v2\","
                                 " \"feature_gates\": {}, \"dynamic_configs\": {}, \"layer_configs\": {},"
                                 " \"condition_map\": {}, \"experiment_to_layer\": {}, \"id_lists\": {}}";

/* What was received. All are changed by atomic operations only. */
static struct { uint64_t requests, bytes, body_bytes, events, distinct, claimed, unreadable; } counts;
static uint64_t expected, *ticked;
static long latency_ms;

#define ADD(field, number) __atomic_fetch_add(&counts.field, (number), __ATOMIC_RELAXED)

typedef struct { char *data; size_t size, room; } Buffer;

static void make_room(Buffer *buffer, size_t room) {
    if (buffer->room >= room) return;
    buffer->room = room * 2;
    buffer->data = realloc(buffer->data, buffer->room);
    if (!buffer->data) { fputs("out of memory\n", stderr); exit(1); }
}

static const char *past_colon(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == ':')) at++;
    return at;
}

static void tick_off(const char *at, const char *end) {
    static const char PREFIX[] = "\"order-";
    if ((size_t)(end - at) < sizeof PREFIX || memcmp(at, PREFIX, sizeof PREFIX - 1)) return;
    uint64_t number = 0;
    for (at += sizeof PREFIX - 1; at < end && *at >= '0' && *at <= '9'; at++) number = number * 10 + (*at - '0');
    if (number >= expected) return;
    uint64_t bit = 1ull << (number % 64);
    if (!(__atomic_fetch_or(&ticked[number / 64], bit, __ATOMIC_RELAXED) & bit)) ADD(distinct, 1);
}

static void count_events(const char *at, size_t size) {
    const char *const end = at + size;
    uint64_t events = 0;
    for (const char *found = at; (found = memmem(found, end - found, NAME, sizeof NAME - 1));) {
        found = past_colon(found + sizeof NAME - 1, end);
        events += (size_t)(end - found) >= sizeof EVENT - 1 && !memcmp(found, EVENT, sizeof EVENT - 1);
    }
    for (const char *found = at; (found = memmem(found, end - found, KEY, sizeof KEY - 1));) {
        found = past_colon(found + sizeof KEY - 1, end);
        tick_off(found, end);
    }
    ADD(events, events);
}

/* Decompresses a whole gzip or zlib body; 0 where it is broken or cut short. */
static int inflate_body(const char *body, size_t size, Buffer *plain) {
    z_stream stream = {0};
    if (inflateInit2(&stream, 32 + 15) != Z_OK) return 0;
    stream.next_in = (unsigned char *)body;
    stream.avail_in = size;
    plain->size = 0;
    int state = Z_OK;
    while (state == Z_OK) {
        make_room(plain, plain->size + 65536);
        stream.next_out = (unsigned char *)plain->data + plain->size;
        stream.avail_out = plain->room - plain->size;
        state = inflate(&stream, Z_NO_FLUSH);
        plain->size = stream.total_out;
    }
    inflateEnd(&stream);
    return state == Z_STREAM_END;
}

/* The value of a header, empty where it is missing; `head` ends with a NUL. */
static const char *header(const char *head, const char *name) {
    size_t length = strlen(name);
    for (const char *line = strstr(head, "\r\n"); line; line = strstr(line, "\r\n")) {
        line += 2;
        if (!strncasecmp(line, name, length) && line[length] == ':') {
            line += length + 1;
            return line + strspn(line, " ");
        }
    }
    return "";
}

static int has_value(const char *found, const char *value) { return !strncasecmp(found, value, strlen(value)); }

static int send_all(int connection, const char *data, size_t size) {
    while (size) {
        ssize_t sent = send(connection, data, size, MSG_NOSIGNAL);
        if (sent <= 0) return 0;
        data += sent;
        size -= sent;
    }
    return 1;
}

static int send_json(int connection, const char *json) {
    char answer[2048];
    int size = snprintf(answer, sizeof answer,
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                        strlen(json), json);
    return send_all(connection, answer, size);
}

static int send_counts(int connection) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double cpu = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec
                 + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    char json[512];
    snprintf(json, sizeof json,
             "{\"requests\": %llu, \"bytes\": %llu, \"body_bytes\": %llu, \"events\": %llu, \"distinct\": %llu,"
             " \"claimed\": %llu, \"unreadable\": %llu, \"cpu_seconds\": %.3f}",
             (unsigned long long)counts.requests, (unsigned long long)counts.bytes,
             (unsigned long long)counts.body_bytes, (unsigned long long)counts.events,
             (unsigned long long)counts.distinct, (unsigned long long)counts.claimed,
             (unsigned long long)counts.unreadable, cpu);
    return send_json(connection, json);
}

static int take_events(int connection, const char *head, const char *body, size_t size, Buffer *plain) {
    const char *encoding = header(head, "content-encoding");
    ADD(requests, 1);
    ADD(bytes, size);
    ADD(claimed, strtoull(header(head, "statsig-event-count"), NULL, 10));
    if (has_value(encoding, "gzip") || has_value(encoding, "deflate")) {
        if (inflate_body(body, size, plain)) {
            ADD(body_bytes, plain->size);
            count_events(plain->data, plain->size);
        } else {
            ADD(unreadable, 1);
        }
    } else if (!*encoding || *encoding == '\r' || has_value(encoding, "identity")) {
        ADD(body_bytes, size);
        count_events(body, size);
    } else {
        ADD(unreadable, 1);
    }
    if (latency_ms) {
        struct timespec wait = {latency_ms / 1000, latency_ms % 1000 * 1000000};
        nanosleep(&wait, NULL);
    }
    return send_all(connection, ACCEPTED, sizeof ACCEPTED - 1);
}

static int answer(int connection, const char *head, const char *body, size_t size, Buffer *plain) {
    const char *path = strchr(head, ' ');
    path = path ? path + 1 : "";
    if (has_value(path, "/v1/log_event")) return take_events(connection, head, body, size, plain);
    if (has_value(path, "/counts")) return send_counts(connection);
    if (has_value(path, "/reset")) {
        memset(&counts, 0, sizeof counts);
        memset(ticked, 0, (expected / 64 + 1) * sizeof *ticked);
        return send_json(connection, "{}");
    }
    if (strstr(head, "/v2/download_config_specs")) return send_json(connection, PROJECT_V2);
    if (strstr(head, "/v1/download_config_specs")) return send_json(connection, PROJECT_V1);
    return send_json(connection, "{}");
}

/* Reads more; 0 where the other side has ended. */
static int receive(int connection, Buffer *buffer, size_t wanted) {
    make_room(buffer, wanted + 1);
    ssize_t got = recv(connection, buffer->data + buffer->size, buffer->room - buffer->size - 1, 0);
    if (got <= 0) return 0;
    buffer->size += got;
    buffer->data[buffer->size] = 0;
    return 1;
}

/* Takes one request; 0 where the connection ends with it. */
static int serve_one(int connection, Buffer *request, Buffer *plain) {
    char *blank;
    while (!request->size || !(blank = memmem(request->data, request->size, "\r\n\r\n", 4)))
        if (!receive(connection, request, request->size + 65536)) return 0;
    *blank = 0;
    size_t start = blank - request->data + 4;
    if (*header(request->data, "transfer-encoding")) { send_all(connection, REFUSED, sizeof REFUSED - 1); return 0; }
    size_t size = strtoull(header(request->data, "content-length"), NULL, 10);
    while (request->size < start + size)
        if (!receive(connection, request, start + size + 65536)) return 0;
    int goes_on = !has_value(header(request->data, "connection"), "close");
    if (!answer(connection, request->data, request->data + start, size, plain)) return 0;
    request->size -= start + size;
    memmove(request->data, request->data + start + size, request->size);
    return goes_on;
}

static void *serve(void *argument) {
    int connection = (int)(intptr_t)argument;
    Buffer request = {0}, plain = {0};
    while (serve_one(connection, &request, &plain)) {}
    free(request.data);
    free(plain.data);
    close(connection);
    return NULL;
}

/* Ends the server when whoever started it is gone. */
static void *watch(void *argument) {
    char byte;
    while (read(0, &byte, 1) > 0) {}
    exit(0);
    return argument;
}

static int listening(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024)
        || getsockname(listener, (struct sockaddr *)&address, &size)) {
        perror("listen");
        exit(1);
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 3) { fputs("usage: server EVENTS LATENCY_MS\n", stderr); return 2; }
    expected = strtoull(argv[1], NULL, 10);
    latency_ms = strtol(argv[2], NULL, 10);
    ticked = calloc(expected / 64 + 1, sizeof *ticked);
    signal(SIGPIPE, SIG_IGN);
    int listener = listening(), on = 1;
    pthread_attr_t detached;
    pthread_t thread;
    pthread_attr_init(&detached);
    pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&detached, 256 * 1024);
    pthread_create(&thread, &detached, watch, NULL);
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection < 0) continue;
        setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (pthread_create(&thread, &detached, serve, (void *)(intptr_t)connection)) close(connection);
    }
}
