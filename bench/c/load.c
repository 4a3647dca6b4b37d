/* A load generator: one thread, one core, HTTP/1.1 that it reads just as far as it must to know that an answer is whole.
 *
 *     load HOST PORT REQUESTS key=value …
 *
 * REQUESTS is a file of heads, each behind its length (4 bytes, native); they are sent in turn. A run of 16 '@' in one is
 * overwritten by a number that is another one each time (`serial` is the first).
 *
 *     connections=64   seconds=1   warm=0.2   (seconds of load before "ready" is printed and a line is waited for)
 *     rate=0           0: closed loop, a connection sends again as soon as it is answered; else open loop: so many requests
 *                      a second, each due at its own moment, and latency counts from there, whoever made it late
 *     close=0          1: a new connection for each request
 *     body=0 chunked=0 bytes that follow each head, by length or (1) in chunks of 64 KiB
 *     expect=200       bytes that each answer must have
 *
 * At the end it waits for what is under way and prints one line of JSON; latency and its own lateness are µs at
 * 50, 99, 99.9 and 100 %.
 */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD (16 * 1024)
#define CHUNK (64 * 1024)
#define UNIT (1024 * 1024)
#define MARK "@@@@@@@@@@@@@@@@"
#define BATCH 512
#define PATIENCE 15000000000ull /* ns without any event until what is under way counts as lost */

typedef struct {
    char *text;
    uint32_t length, marks[4], count;
} Request;

typedef struct {
    int fd, busy, connecting, writing, in_body;
    const Request *request;
    size_t sent;          /* bytes of the head */
    uint64_t unit, units; /* body: bytes of the unit under way, units that are written whole */
    size_t tail;
    uint64_t due;
    char *head;
    size_t kept;
    Body answer;
} Client;

static struct sockaddr_in there;
static Request *requests;
static size_t request_count, next_request;
static Client *clients;
static Client **idle; /* a ring: every connection has its turn */
static size_t idle_first, idle_count, connections = 64;
static int poller, closing, chunked;
static double seconds = 1, warm = 0.2, rate;
static uint64_t body, expect = 200, serial;
static char unit[(7 + CHUNK + 2) * 16];
static size_t unit_size = UNIT;
static uint64_t done_count, bytes, bad, errors, reopened, under_way, queued;
static uint32_t *latency, *late; /* tenths of a µs */
static size_t latency_count, late_count, room;

static void quit(const char *what) {
    perror(what);
    exit(1);
}

static void watch(Client *client, int how, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = client};
    if (epoll_ctl(poller, how, client->fd, &event)) quit("epoll_ctl");
}

static void read_requests(const char *path) {
    FILE *file = fopen(path, "rb");
    uint32_t length;
    size_t have = 0;
    if (!file) quit(path);
    while (fread(&length, sizeof length, 1, file) == 1) {
        if (request_count == have) requests = realloc(requests, (have = have * 2 + 64) * sizeof *requests);
        Request *request = &requests[request_count++];
        memset(request, 0, sizeof *request);
        request->text = malloc(length);
        request->length = length;
        if (fread(request->text, 1, length, file) != length) quit(path);
        char *at = request->text;
        while (request->count < 4 && (at = memmem(at, length - (size_t)(at - request->text), MARK, 16)) != NULL) {
            request->marks[request->count++] = (uint32_t)(at - request->text);
            at += 16;
        }
    }
    fclose(file);
    if (!request_count) exit(2);
}

static void open_client(Client *client) {
    int yes = 1;
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0) quit("socket");
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    client->connecting = client->writing = 1;
    client->in_body = 0;
    client->kept = 0;
    if (connect(client->fd, (struct sockaddr *)&there, sizeof there) && errno != EINPROGRESS) quit("connect");
    watch(client, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
}

static void rest(Client *client) { idle[(idle_first + idle_count++) % connections] = client; }

static int begin(Client *client, uint64_t due);

/* The connection is lost: what it had in hand is an error, another takes its place. */
static void lost(Client *client) {
    close(client->fd);
    if (client->busy) errors++, under_way--;
    else reopened++;
    int was_busy = client->busy;
    client->busy = 0;
    open_client(client);
    if (was_busy) rest(client);
}

/* Write what is left of the request; return 0 when the connection is lost. */
static int write_on(Client *client) {
    const Request *request = client->request;
    uint64_t units = body / UNIT;
    for (;;) {
        const char *from;
        size_t size;
        ssize_t wrote;
        int more = body != 0;
        if (client->sent < request->length) from = request->text + client->sent, size = request->length - client->sent;
        else if (client->units < units) {
            from = unit + client->unit, size = unit_size - client->unit;
            more = chunked || client->units + 1 < units;
        } else if (chunked && client->tail < 5) from = "0\r\n\r\n" + client->tail, size = 5 - client->tail, more = 0;
        else break;
        wrote = send(client->fd, from, size, MSG_NOSIGNAL | (more ? MSG_MORE : 0));
        if (wrote < 0) {
            if (errno != EAGAIN) return 0;
            if (!client->writing) watch(client, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
            client->writing = 1;
            return 1;
        }
        if (client->sent < request->length) client->sent += (size_t)wrote;
        else if (client->units < units) {
            client->unit += (size_t)wrote;
            if (client->unit == unit_size) client->unit = 0, client->units++;
        } else client->tail += (size_t)wrote;
    }
    if (client->writing) watch(client, EPOLL_CTL_MOD, EPOLLIN);
    client->writing = 0;
    return 1;
}

static int begin(Client *client, uint64_t due) {
    Request *request = &requests[next_request];
    next_request = next_request + 1 == request_count ? 0 : next_request + 1;
    if (request->count) {
        uint64_t number = serial++;
        for (int digit = 15; digit >= 0; digit--, number >>= 4)
            for (uint32_t n = 0; n < request->count; n++)
                request->text[request->marks[n] + (uint32_t)digit] = "0123456789abcdef"[number & 15];
    }
    client->request = request;
    client->sent = client->tail = 0;
    client->unit = client->units = 0;
    client->due = due;
    client->busy = 1;
    under_way++;
    if (client->connecting) return 1; /* sent as soon as it stands */
    return write_on(client);
}

static void start(Client *client, uint64_t due) {
    if (!begin(client, due)) lost(client);
}

static void note(uint32_t *list, size_t *count, uint64_t ns) {
    ns /= 100;
    if (*count < room) list[(*count)++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

/* The answer is whole. */
static void answered(Client *client) {
    uint64_t now = now_ns();
    done_count++;
    bytes += client->answer.total;
    if (client->answer.total != expect) bad++;
    note(latency, &latency_count, now - client->due);
    client->busy = client->in_body = 0;
    under_way--;
    if (closing) {
        close(client->fd);
        open_client(client);
    }
    rest(client);
}

/* Take what was read; return 0 when it is no answer. */
static int take(Client *client, const char *text, size_t length) {
    while (length) {
        if (!client->busy) return 0;
        if (!client->in_body) {
            size_t head, before = client->kept;
            const char *from = text;
            if (before) {
                size_t some = length < HEAD - before ? length : HEAD - before;
                memcpy(client->head + before, text, some);
                client->kept += some;
                from = client->head;
                head = head_length(from, client->kept);
                if (!head) return client->kept < HEAD;
            } else if ((head = head_length(text, length)) == 0) {
                if (length >= HEAD) return 0;
                if (!client->head) client->head = malloc(HEAD);
                memcpy(client->head, text, length);
                client->kept = length;
                return 1;
            }
            text += head - before, length -= head - before;
            client->kept = 0;
            if (head < 16 || memcmp(from, "HTTP/1.", 7)) return 0;
            if (memcmp(from + 9, "100", 3) == 0) continue;
            if (memcmp(from + 9, "200", 3)) bad++;
            if (!body_begin(&client->answer, from, head)) return 0;
            client->in_body = 1;
        }
        if (!client->answer.done) {
            size_t some = body_take(&client->answer, text, length);
            text += some, length -= some;
        }
        if (client->answer.done) {
            answered(client);
            return length == 0;
        }
    }
    return 1;
}

static void events_for(uint64_t until_ns) {
    static char read_into[256 * 1024];
    struct epoll_event events[BATCH];
    uint64_t now = now_ns(), ahead = until_ns > now ? until_ns - now : 0;
    struct timespec wait = {.tv_sec = (time_t)(ahead / 1000000000u), .tv_nsec = (long)(ahead % 1000000000u)};
    int ready = epoll_pwait2(poller, events, BATCH, &wait, NULL);
    if (ready < 0 && errno != EINTR) quit("epoll_pwait2");
    for (int n = 0; n < ready; n++) {
        Client *client = events[n].data.ptr;
        if (client->connecting && events[n].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error) {
                fprintf(stderr, "connect: %s\n", strerror(error));
                exit(1);
            }
            client->connecting = 0;
            if (!client->busy) {
                client->writing = 0;
                watch(client, EPOLL_CTL_MOD, EPOLLIN);
                continue;
            }
        }
        if (client->busy && client->writing && !write_on(client)) {
            lost(client);
            continue;
        }
        if (!(events[n].events & (EPOLLIN | EPOLLHUP | EPOLLERR))) continue;
        ssize_t got = read(client->fd, read_into, sizeof read_into);
        if (got == 0 || (got < 0 && errno != EAGAIN)) lost(client);
        else if (got > 0 && !take(client, read_into, (size_t)got)) {
            bad++;
            lost(client);
        }
    }
}

static Client *rested(void) {
    Client *client = idle[idle_first];
    idle_first = (idle_first + 1) % connections;
    idle_count--;
    return client;
}

static void drain(void) {
    uint64_t before = done_count, since = now_ns();
    while (under_way && now_ns() - since < PATIENCE) {
        events_for(now_ns() + 100000000u);
        if (done_count != before) before = done_count, since = now_ns();
    }
}

static void closed_loop(double length) {
    uint64_t until = now_ns() + (uint64_t)(length * 1e9);
    while (now_ns() < until) {
        uint64_t now = now_ns();
        for (size_t n = idle_count; n; n--) start(rested(), now);
        events_for(until);
    }
    drain();
}

static void open_loop(double length) {
    uint64_t begun = now_ns(), total = (uint64_t)(length * rate), sent = 0;
    double gap = 1e9 / rate;
    int behind = 0; /* for want of a connection: what leaves late is then not the generator's fault */
    while (sent < total) {
        uint64_t due = begun + (uint64_t)((double)sent * gap), now = now_ns();
        int waited = 0;
        for (; sent < total && due <= now; due = begun + (uint64_t)((double)sent * gap)) {
            if (!idle_count) {
                waited = 1;
                break;
            }
            if (!behind) note(late, &late_count, now - due);
            start(rested(), due);
            sent++;
            now = now_ns();
        }
        behind = waited || (behind && due <= now);
        if (waited) queued++;
        if (now - begun > (uint64_t)(length * 2e9)) break; /* it cannot be carried: the rest stays unsent */
        events_for(waited ? now + 10000000u : due);
    }
    drain();
    errors += total - sent;
}

static int compare(const void *one, const void *other) {
    uint32_t a = *(const uint32_t *)one, b = *(const uint32_t *)other;
    return a < b ? -1 : a > b;
}

static void show(const char *name, uint32_t *list, size_t count) {
    static const double shares[] = {0.5, 0.99, 0.999, 1};
    qsort(list, count, sizeof *list, compare);
    printf(", \"%s\": [", name);
    for (int n = 0; n < 4; n++) {
        size_t at = count ? (size_t)((double)(count - 1) * shares[n] + 0.5) : 0;
        printf("%s%.1f", n ? ", " : "", count ? list[at] / 10.0 : 0);
    }
    printf("]");
}

int main(int count, char **given) {
    char line[16];
    if (count < 4) return 2;
    for (int n = 4; n < count; n++) {
        char *value = strchr(given[n], '=');
        if (!value) return 2;
        *value++ = 0;
        if (!strcmp(given[n], "connections")) connections = strtoull(value, NULL, 10);
        else if (!strcmp(given[n], "seconds")) seconds = atof(value);
        else if (!strcmp(given[n], "warm")) warm = atof(value);
        else if (!strcmp(given[n], "rate")) rate = atof(value);
        else if (!strcmp(given[n], "close")) closing = atoi(value);
        else if (!strcmp(given[n], "chunked")) chunked = atoi(value);
        else if (!strcmp(given[n], "body")) body = strtoull(value, NULL, 10);
        else if (!strcmp(given[n], "expect")) expect = strtoull(value, NULL, 10);
        else if (!strcmp(given[n], "serial")) serial = strtoull(value, NULL, 10);
        else return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_TIMERSLACK, 1);
    there = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(given[2]))};
    inet_pton(AF_INET, given[1], &there.sin_addr);
    read_requests(given[3]);
    memset(unit, 'x', sizeof unit);
    if (chunked) {
        for (int n = 0; n < 16; n++) {
            memcpy(unit + n * (7 + CHUNK + 2), "10000\r\n", 7);
            memcpy(unit + n * (7 + CHUNK + 2) + 7 + CHUNK, "\r\n", 2);
        }
        unit_size = sizeof unit;
    }
    poller = epoll_create1(EPOLL_CLOEXEC);
    clients = calloc(connections, sizeof *clients);
    idle = calloc(connections, sizeof *idle);
    room = rate ? (size_t)(rate * (seconds + warm)) + 16 : 4u << 20;
    latency = calloc(room, sizeof *latency);
    late = calloc(room, sizeof *late);
    for (size_t n = 0; n < connections; n++) {
        open_client(&clients[n]);
        rest(&clients[n]);
        if (n % 64 == 63) events_for(now_ns() + 1000000u);
    }
    rate ? open_loop(warm) : closed_loop(warm);
    if (under_way) errors += under_way;
    printf("ready\n");
    fflush(stdout);
    if (!fgets(line, sizeof line, stdin)) return 1;
    done_count = bytes = reopened = queued = 0;
    latency_count = late_count = 0;
    uint64_t begun = now_ns();
    rate ? open_loop(seconds) : closed_loop(seconds);
    double took = (double)(now_ns() - begun) / 1e9;
    printf("{\"requests\": %llu, \"bytes\": %llu, \"seconds\": %.6f, \"bad\": %llu, \"errors\": %llu, \"reopened\": %llu, "
           "\"queued\": %llu",
           (unsigned long long)done_count, (unsigned long long)bytes, took, (unsigned long long)bad,
           (unsigned long long)(errors + under_way), (unsigned long long)reopened, (unsigned long long)queued);
    show("latency", latency, latency_count);
    show("late", late, late_count);
    printf("}\n");
    return 0;
}
