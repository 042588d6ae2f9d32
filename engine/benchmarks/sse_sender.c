/* The live stream as a C program would serve it, to compare the hub with.

   sse_sender LISTENER_FD REDIS_SOCKET

   One thread, one epoll. It tails the Redis stream as the hub does and coalesces as the hub does:
   the first events after a quiet moment leave at once, and after a delivery it rests six times as
   long as that took before it reads on, but both together 100 ms at most (or 20 ms after a longer
   one). Each socket gets one send() per batch; what a socket does not take is kept, up to 256 KiB.
   It says the plates of first revisions, as /stream does. */

#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 20000, REPLY = 1 << 22, BACKLOG = 1 << 18, EVENTS = 256 };

static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: \n\n";

struct client {
  int live;
  size_t waiting;
  char *backlog;
};

static struct client clients[MOST]; /* by descriptor */
static char reply[REPLY], out[REPLY], last[64] = "0-0";
static size_t reply_size, out_size;
static int poller, redis;

static double now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void watch(int fd, int how, unsigned what) {
  struct epoll_event event = {.events = what, .data.fd = fd};
  epoll_ctl(poller, how, fd, &event);
}

static void drop(int fd) {
  free(clients[fd].backlog);
  memset(&clients[fd], 0, sizeof clients[fd]);
  close(fd);
}

static void keep(int fd, const char *rest, size_t size) {
  struct client *client = &clients[fd];
  if (client->waiting + size > BACKLOG) {
    drop(fd);
    return;
  }
  if (client->backlog == NULL) {
    client->backlog = malloc(BACKLOG);
    if (client->backlog == NULL) exit(1);
  }
  memcpy(client->backlog + client->waiting, rest, size);
  if (client->waiting == 0) watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
  client->waiting += size;
}

static void offer(int fd, const char *bytes, size_t size) {
  ssize_t sent = 0;
  if (clients[fd].waiting == 0) sent = send(fd, bytes, size, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN)
    drop(fd);
  else if (sent < (ssize_t)size)
    keep(fd, bytes + (sent > 0 ? sent : 0), size - (size_t)(sent > 0 ? sent : 0));
}

static void drain(int fd) {
  struct client *client = &clients[fd];
  ssize_t sent = send(fd, client->backlog, client->waiting, MSG_NOSIGNAL);
  if (sent < 0 && errno != EAGAIN) {
    drop(fd);
  } else if (sent > 0) {
    client->waiting -= (size_t)sent;
    memmove(client->backlog, client->backlog + sent, client->waiting);
    if (client->waiting == 0) watch(fd, EPOLL_CTL_MOD, EPOLLIN);
  }
}

/* Write the plate of an event's JSON as an event of the stream, if it is a first revision. */
static void say(const char *json, size_t size) {
  static const char KEY[] = "\"plate\":\"", FIRST[] = "\"revision\":1,";
  if (memmem(json, size, FIRST, sizeof FIRST - 1) == NULL) return;
  const char *plate = memmem(json, size, KEY, sizeof KEY - 1);
  if (plate == NULL) return;
  plate += sizeof KEY - 1;
  const char *end = memchr(plate, '"', (size_t)(json + size - plate));
  if (end == NULL || out_size + (size_t)(end - plate) + 8 > REPLY) return;
  out_size += (size_t)sprintf(out + out_size, "data: %.*s\n\n", (int)(end - plate), plate);
}

/* Walk through a reply; return whether it is whole. Ids and events are taken when `take`. */
static int walk(int take) {
  size_t at = 0;
  long left = 1;
  int json_next = 0;
  while (left > 0) {
    char *end = memmem(reply + at, reply_size - at, "\r\n", 2);
    if (end == NULL) return 0;
    long number = strtol(reply + at + 1, NULL, 10);
    char kind = reply[at];
    at = (size_t)(end - reply) + 2;
    left--;
    if (kind == '*' && number > 0) left += number;
    if (kind != '$' || number < 0) continue;
    if (at + (size_t)number + 2 > reply_size) return 0;
    const char *word = reply + at;
    if (take && json_next) say(word, (size_t)number);
    else if (take && number < 40 && memchr(word, '-', (size_t)number) && *word >= '0' && *word <= '9')
      snprintf(last, sizeof last, "%.*s", (int)number, word);
    json_next = number == 4 && memcmp(word, "json", 4) == 0;
    at += (size_t)number + 2;
  }
  return 1;
}

static void ask(void) {
  char command[256];
  int size = snprintf(command, sizeof command,
                      "*8\r\n$5\r\nXREAD\r\n$5\r\nCOUNT\r\n$3\r\n500\r\n$5\r\nBLOCK\r\n$3\r\n500\r\n"
                      "$7\r\nSTREAMS\r\n$22\r\nplatering:{log}:stream\r\n");
  size += snprintf(command + size, sizeof command - (size_t)size, "$%zu\r\n%s\r\n", strlen(last), last);
  if (write(redis, command, (size_t)size) != size) exit(1);
}

/* Deliver what came; return how long to rest before asking for more. */
static double deliver(void) {
  double began = now_s();
  out_size = 0;
  walk(1);
  reply_size = 0;
  if (out_size == 0) return 0;
  for (int fd = 0; fd < MOST; fd++)
    if (clients[fd].live) offer(fd, out, out_size);
  double took = now_s() - began, most = took < 0.08 ? 0.1 - took : 0.02;
  return 6 * took < most ? 6 * took : most;
}

static void greet(int fd) {
  char request[4096];
  ssize_t size = recv(fd, request, sizeof request, 0);
  if (size == 0 || (size < 0 && errno != EAGAIN)) {
    drop(fd);
  } else if (size > 0 && !clients[fd].live) {
    clients[fd].live = 1;
    offer(fd, HEAD, sizeof HEAD - 1);
  }
}

static void admit(int listener) {
  int fd, yes = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    if (fd >= MOST) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    watch(fd, EPOLL_CTL_ADD, EPOLLIN);
  }
}

static void take_reply(double *ask_at) {
  ssize_t size = read(redis, reply + reply_size, REPLY - reply_size);
  if (size <= 0) exit(1);
  reply_size += (size_t)size;
  if (walk(0)) *ask_at = now_s() + deliver();
}

int main(int count, char **words) {
  if (count != 3) return 2;
  int listener = atoi(words[1]);
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", words[2]);
  redis = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(redis, (struct sockaddr *)&address, sizeof address)) return 1;
  poller = epoll_create1(0);
  watch(listener, EPOLL_CTL_ADD, EPOLLIN);
  watch(redis, EPOLL_CTL_ADD, EPOLLIN);
  double ask_at = now_s(); /* 0 while a reply is awaited */
  struct epoll_event events[EVENTS];
  for (;;) {
    if (ask_at > 0 && now_s() >= ask_at) {
      ask();
      ask_at = 0;
    }
    int wait_ms = ask_at > 0 ? (int)((ask_at - now_s()) * 1e3) + 1 : -1;
    int ready = epoll_wait(poller, events, EVENTS, wait_ms);
    for (int index = 0; index < ready; index++) {
      int fd = events[index].data.fd;
      if (fd == listener) admit(listener);
      else if (fd == redis) take_reply(&ask_at);
      else if (events[index].events & EPOLLIN) greet(fd);
      else if (events[index].events & EPOLLOUT) drain(fd);
      else drop(fd);
    }
  }
}
