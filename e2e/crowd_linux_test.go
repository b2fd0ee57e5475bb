package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// crowd is many open streams of some homes, read by one thread as cheaply as a client can, since
// it shares the processor with the server.
type crowd struct {
	h       *hark
	homes   []place
	poll    int
	readers map[int32]*reader // by file descriptor
	events  atomic.Int64      // received by all
	wrong   atomic.Int64      // events out of order
	mu      sync.Mutex
	took    []time.Duration // from the report's request to the reader, a sample
	keep    bool
}

// place is a home with a device that reports.
type place struct{ location, device string }

// reader is one open stream.
type reader struct {
	conn net.Conn
	rest []byte // the beginning of a line that is not complete yet
	last int64
}

// newCrowd registers and opens n streams, spread over so many homes.
func newCrowd(tb testing.TB, h *hark, n, homes int) *crowd {
	tb.Helper()
	poll, err := syscall.EpollCreate1(0)
	if err != nil {
		tb.Fatal(err)
	}
	c := &crowd{h: h, homes: []place{{h.LocationID, h.device("Ceiling light")}}, poll: poll, readers: map[int32]*reader{}}
	for len(c.homes) < homes {
		var l struct{ LocationID string }
		h.call("POST", "/locations", map[string]string{"name": "Home"}, &l)
		var d struct{ DeviceID string }
		h.call("POST", "/virtualdevices/prototypes", map[string]any{"prototype": "VIRTUAL_DIMMER", "owner": map[string]string{"ownerType": "LOCATION", "ownerId": l.LocationID}}, &d)
		c.homes = append(c.homes, place{l.LocationID, d.DeviceID})
	}
	var wait sync.WaitGroup
	places := make(chan int)
	for range 64 {
		wait.Go(func() {
			for i := range places {
				if err := c.open(i); err != nil {
					tb.Error(err)
				}
			}
		})
	}
	for i := range n {
		places <- i
	}
	close(places)
	wait.Wait()
	ended := make(chan struct{})
	go func() { defer close(ended); c.read() }()
	tb.Cleanup(func() {
		for _, r := range c.readers {
			r.conn.Close()
		}
		syscall.Close(poll) // ends read
		<-ended
	})
	return c
}

func (c *crowd) open(i int) error {
	body := fmt.Sprintf(`{"name":"stream %d","subscriptionFilters":[{"type":"LOCATIONIDS","value":[%q],"eventType":["DEVICE_EVENT"]}]}`, i, c.homes[i%len(c.homes)].location)
	status, answer, err := c.h.Try("POST", "/subscriptions", []byte(body))
	if err != nil || status != 200 {
		return fmt.Errorf("register stream %d: %d %s %w", i, status, answer, err)
	}
	var made struct{ RegistrationURL string }
	if err := json.Unmarshal(answer, &made); err != nil {
		return err
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(c.h.BaseURL, "http://"))
	if err != nil {
		return err
	}
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: hark\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\n\r\n", strings.TrimPrefix(made.RegistrationURL, c.h.BaseURL), c.h.Token)
	head := make([]byte, 0, 1024)
	for !bytes.Contains(head, []byte("data: welcome\n\n")) { // a comment may follow at once
		n, err := conn.Read(head[len(head):cap(head)])
		if err != nil {
			return fmt.Errorf("open stream %d: %w after %q", i, err, head)
		}
		head = head[:len(head)+n]
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) {
		c.mu.Lock()
		c.readers[int32(fd)] = &reader{conn: conn}
		c.mu.Unlock()
		err = syscall.EpollCtl(c.poll, syscall.EPOLL_CTL_ADD, int(fd), &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
	})
}

// read reads all streams until they are closed.
func (c *crowd) read() {
	ready := make([]syscall.EpollEvent, 256)
	b := make([]byte, 64<<10)
	for {
		n, err := syscall.EpollWait(c.poll, ready, 0)
		if n == 0 || err == syscall.EINTR {
			time.Sleep(500 * time.Microsecond) // waking up for each would take the processor from the server
			continue
		}
		if err != nil {
			return
		}
		for _, e := range ready[:n] {
			r := c.readers[e.Fd]
			n, err := syscall.Read(int(e.Fd), b)
			if n <= 0 || err != nil {
				syscall.EpollCtl(c.poll, syscall.EPOLL_CTL_DEL, int(e.Fd), nil)
				continue
			}
			c.take(r, b[:n])
		}
	}
}

var stamp = []byte(`"sent":`)

// take counts the events in what a stream brought. Each says when it was sent, which rises.
func (c *crowd) take(r *reader, b []byte) {
	if len(r.rest) > 0 {
		b = append(r.rest, b...)
	}
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			break
		}
		b = rest
		i := bytes.Index(line, stamp) + len(stamp)
		if i < len(stamp) {
			continue
		}
		sent, _ := strconv.ParseInt(string(line[i:i+19]), 10, 64)
		if sent <= r.last {
			c.wrong.Add(1)
		}
		r.last = sent
		if n := c.events.Add(1); c.keep && n%7 == 0 {
			c.mu.Lock()
			c.took = append(c.took, time.Duration(time.Now().UnixNano()-sent))
			c.mu.Unlock()
		}
	}
	r.rest = append(r.rest[:0], b...)
}

// report sends n events of a home in one request.
func (c *crowd) report(tb testing.TB, home, n int) {
	tb.Helper()
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, `{"deviceId":%q,"capability":"switchLevel","attribute":"level","value":%d,"data":{"sent":%d}}`+"\n",
			c.homes[home%len(c.homes)].device, i%101, time.Now().UnixNano()+int64(i))
	}
	if status, answer, err := c.h.Try("POST", "/hark/v1/events", b.Bytes()); err != nil || status != 200 {
		tb.Fatalf("report: %d %s %v", status, answer, err)
	}
}

// until waits until all have so many events.
func (c *crowd) until(tb testing.TB, events int64) {
	tb.Helper()
	for deadline := time.Now().Add(60 * time.Second); c.events.Load() < events; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("%d of %d events arrived", c.events.Load(), events)
		}
	}
}

// resident returns the resident memory of a process in bytes.
func resident(tb testing.TB, pid int) int64 {
	tb.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Skip("the resident memory of a process is read from /proc: " + err.Error())
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); f[0] == "VmRSS:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// TestTenThousandStreams opens ten thousand streams, which must cost little while they are
// idle, and has every one of them miss nothing.
func TestTenThousandStreams(t *testing.T) {
	const streams, events, limit = 10_000, 20, 12 << 10
	h := start(t, "--listen", "127.0.0.1:0", "--log-level", "warn")
	registered := newCrowd(t, h, 64, 1) // what the first ones cost is not for each
	before := resident(t, h.PID)
	c := newCrowd(t, h, streams, 1)
	each := (resident(t, h.PID) - before) / streams
	t.Logf("%d bytes of resident memory for each idle stream", each)
	if each > limit {
		t.Errorf("an idle stream takes %d bytes, the limit is %d", each, limit)
	}
	for range events {
		c.report(t, 0, 1)
	}
	c.until(t, streams*events)
	registered.until(t, 64*events)
	time.Sleep(50 * time.Millisecond)
	if n, wrong := c.events.Load(), c.wrong.Load(); n != streams*events || wrong > 0 {
		t.Errorf("%d events arrived, %d of them out of order; want %d", n, wrong, streams*events)
	}
	t.Logf("%d bytes of resident memory for each afterwards", (resident(t, h.PID)-before)/streams)
}

// BenchmarkFanOut has a thousand streams show as many events as go through: readers and server
// share the processor.
func BenchmarkFanOut(b *testing.B) {
	const streams = 1000
	h := start(b, "--listen", "127.0.0.1:0", "--log-level", "warn")
	c := newCrowd(b, h, streams, 1)
	b.ResetTimer()
	sent := int64(0)
	for i := range b.N { // at most 500 under way, or streams would be cut off
		c.report(b, 0, 100)
		sent += 100
		if i >= 4 {
			c.until(b, (sent-400)*streams)
		}
	}
	c.until(b, sent*streams)
	b.ReportMetric(float64(sent*streams)/b.Elapsed().Seconds(), "messages/s")
	if c.wrong.Load() > 0 {
		b.Errorf("%d messages out of order", c.wrong.Load())
	}
}

// BenchmarkStreamLatency measures from a report's request to the readers at 20,000 messages/s:
// to all of a crowd at once, and to a hundredth of it in each of a hundred homes. Beside it is
// what as many bare writes to as many connections take.
func BenchmarkStreamLatency(b *testing.B) {
	for _, bench := range []struct{ streams, homes int }{{1000, 1}, {1000, 100}, {10_000, 1}, {10_000, 100}} {
		b.Run(fmt.Sprintf("%d streams, %d homes", bench.streams, bench.homes), func(b *testing.B) {
			h := start(b, "--listen", "127.0.0.1:0", "--log-level", "warn")
			c := newCrowd(b, h, bench.streams, bench.homes)
			c.keep = true
			each := bench.streams / bench.homes
			b.ResetTimer()
			next := time.Now()
			for i := range b.N {
				c.report(b, i, 1)
				next = next.Add(time.Second * time.Duration(each) / 20_000)
				time.Sleep(time.Until(next))
			}
			c.until(b, int64(b.N*each))
			b.StopTimer()
			c.mu.Lock()
			defer c.mu.Unlock()
			slices.Sort(c.took)
			ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
			b.ReportMetric(ms(c.took[len(c.took)/2]), "p50-ms")
			b.ReportMetric(ms(c.took[len(c.took)*99/100]), "p99-ms")
			if each <= 1000 { // more connections than a process may have here
				b.ReportMetric(ms(bareWrites(b, each)), "bare-ms")
			}
		})
	}
}

// bareWrites returns how long one write to each of n connections takes on this machine, the
// median of some tries.
func bareWrites(tb testing.TB, n int) time.Duration {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	var to []net.Conn
	for range n {
		from, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			tb.Fatal(err)
		}
		defer from.Close()
		conn, err := l.Accept()
		if err != nil {
			tb.Fatal(err)
		}
		defer conn.Close()
		to = append(to, conn)
	}
	message := make([]byte, 650)
	var took []time.Duration
	for range 9 {
		started := time.Now()
		for _, conn := range to {
			conn.Write(message) // nobody reads; what a socket holds is enough
		}
		took = append(took, time.Since(started))
	}
	slices.Sort(took)
	return took[len(took)/2]
}
