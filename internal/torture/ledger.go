package torture

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// Receiver is an app's endpoint that keeps a ledger: for each installed app and device, the values
// in order of arrival. It notes what it takes, and nothing that it answers badly.
type Receiver struct {
	Name string
	URL  string

	server *http.Server

	mu       sync.Mutex
	mood     mood
	expected []string // the installed apps that get events here
	arrivals map[source][]arrival
	refused  map[string]map[int]bool // values that it answered 4xx at least once
	count    int
	faults   map[string]int // how often it behaved badly, by name
}

// source is whose event of which device.
type source struct{ installed, device string }

type arrival struct {
	value int
	at    time.Time
}

// mood is what a receiver does with calls; the zero value takes them.
type mood struct {
	name   string
	answer func(http.ResponseWriter, *http.Request) // nil takes the call
}

// hangUp breaks the connection off.
func hangUp(w http.ResponseWriter, reset bool) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := c.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0)
	}
	c.Close()
}

// moods are what receivers do badly about their endpoint. None of them takes an event.
var moods = []mood{
	{"answers 503", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }},
	{"answers 429", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusTooManyRequests)
	}},
	{"redirects", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
	}},
	{"hangs", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }},
	{"hangs up", func(w http.ResponseWriter, _ *http.Request) { hangUp(w, false) }},
	{"resets", func(w http.ResponseWriter, _ *http.Request) { hangUp(w, true) }},
	{"answers garbage", func(w http.ResponseWriter, _ *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(b, "\x00\xff not HTTP\r\n\r\n")
		b.Flush()
	}},
	{"answers 500 with 100 MB", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		chunk := bytes.Repeat([]byte("x"), 1<<20)
		for range 100 {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}},
	{"drips", func(w http.ResponseWriter, r *http.Request) {
		c, b, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		drip(b)
	}},
}

// drip sends a header that never ends, a byte at a time.
func drip(b *bufio.ReadWriter) {
	if _, err := io.WriteString(b, "HTTP/1.1 200 OK\r\nX-Drip: "); err != nil {
		return
	}
	for {
		if err := b.WriteByte('x'); err != nil || b.Flush() != nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

var down = mood{"is down", moods[0].answer}

// NewReceiver starts a receiver on an address of this machine.
func NewReceiver(name, address string) (*Receiver, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return nil, err
	}
	r := &Receiver{Name: name, URL: "http://" + l.Addr().String() + "/", arrivals: map[source][]arrival{}, refused: map[string]map[int]bool{}, faults: map[string]int{}}
	r.server = &http.Server{Handler: http.HandlerFunc(r.take)}
	go r.server.Serve(l) // until Close
	return r, nil
}

// Close ends the receiver.
func (r *Receiver) Close() { r.server.Close() }

// Expect says that events to the installed app arrive here.
func (r *Receiver) Expect(installed string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expected = append(r.expected, installed)
}

// Down makes the receiver answer 503, or take calls again.
func (r *Receiver) Down(is bool) {
	m := mood{}
	if is {
		m = down
	}
	r.feel(m)
}

func (r *Receiver) feel(m mood) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mood = m
}

// call is what is read of a call.
type call struct {
	EventData struct {
		InstalledApp struct{ InstalledAppID string }
		Events       []struct {
			DeviceEvent struct {
				DeviceID string
				Value    int
			}
		}
	}
}

func (r *Receiver) take(w http.ResponseWriter, q *http.Request) {
	b, err := io.ReadAll(q.Body)
	var c call
	if err != nil || json.Unmarshal(b, &c) != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	r.mu.Lock()
	mood := r.mood
	if mood.answer != nil {
		r.faults[mood.name]++
		r.mu.Unlock()
		mood.answer(w, q)
		return
	}
	defer r.mu.Unlock()
	for _, e := range c.EventData.Events {
		from := source{c.EventData.InstalledApp.InstalledAppID, e.DeviceEvent.DeviceID}
		r.arrivals[from] = append(r.arrivals[from], arrival{e.DeviceEvent.Value, time.Now()})
		r.count++
	}
	fmt.Fprint(w, "{}")
}

// Picky makes the receiver refuse one call in so many with a 400, which is about its events.
func (r *Receiver) Picky(oneIn int) {
	next := r.server.Handler
	r.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		b, err := io.ReadAll(q.Body)
		var c call
		if err != nil || json.Unmarshal(b, &c) != nil || len(c.EventData.Events) == 0 || rand.N(oneIn) > 0 {
			q.Body = io.NopCloser(bytes.NewReader(b))
			next.ServeHTTP(w, q)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.faults["answers 400"]++
		for _, e := range c.EventData.Events {
			if r.refused[e.DeviceEvent.DeviceID] == nil {
				r.refused[e.DeviceEvent.DeviceID] = map[int]bool{}
			}
			r.refused[e.DeviceEvent.DeviceID][e.DeviceEvent.Value] = true
		}
		w.WriteHeader(http.StatusBadRequest)
	})
}

// Entry is what a receiver's ledger says in the end.
type Entry struct {
	Receiver     string         `json:"receiver"`
	Acknowledged int            `json:"acknowledged"` // events that should have arrived
	Missing      int            `json:"missing"`
	Arrived      int            `json:"arrived"`
	Again        int            `json:"again"` // of these, those that came before
	Faults       map[string]int `json:"faults,omitempty"`
	Problems     []string       `json:"problems,omitempty"` // what must not be
}

// Missing counts the acknowledged values that did not arrive.
func (r *Receiver) Missing(feeders []*Feeder) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, f := range feeders {
		acknowledged := f.Acknowledged()
		for _, installed := range r.expected {
			got := map[int]bool{}
			for _, a := range r.arrivals[source{installed, f.Device}] {
				got[a.value] = true
			}
			for _, v := range acknowledged {
				if !got[v] {
					n++
				}
			}
		}
	}
	return n
}

// inFlight is how long after a disturbance a request may arrive that was sent before it.
const inFlight = 500 * time.Millisecond

// Check closes the ledger. Nothing acknowledged may be missing; the values of a device come in
// order, but for those that the receiver refused itself; and again only what was under way at
// one of the disturbances.
func (r *Receiver) Check(feeders []*Feeder, disturbances []Disturbance) Entry {
	e := Entry{Receiver: r.Name, Missing: r.Missing(feeders)}
	if e.Missing > 0 {
		e.Problems = append(e.Problems, fmt.Sprintf("%d acknowledged events are missing", e.Missing))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e.Arrived, e.Faults = r.count, r.faults
	for _, f := range feeders {
		for _, installed := range r.expected {
			e.Acknowledged += len(f.Acknowledged())
			e.follow(source{installed, f.Device}, r.arrivals[source{installed, f.Device}], r.refused[f.Device], disturbances)
		}
	}
	return e
}

// follow holds the values of one source, in order of arrival, against what may be.
func (e *Entry) follow(from source, arrivals []arrival, refused map[int]bool, disturbances []Disturbance) {
	first := map[int]time.Time{}
	newest := 0
	for _, a := range arrivals {
		if at, again := first[a.value]; again {
			e.Again++
			if !disturbed(disturbances, at, a.at) {
				e.Problems = append(e.Problems, fmt.Sprintf("the value %d of %v came at %s and again at %s with no disturbance between", a.value, from, at.Format(clock), a.at.Format(clock)))
			}
			continue
		}
		first[a.value] = a.at
		if refused[a.value] {
			continue
		}
		if a.value < newest {
			e.Problems = append(e.Problems, fmt.Sprintf("the value %d of %v came after %d", a.value, from, newest))
		}
		newest = a.value
	}
}

const clock = "15:04:05.000"

// Disturbance is something that was done to a hark.
type Disturbance struct {
	What     string
	From, To time.Time
}

func disturbed(list []Disturbance, from, to time.Time) bool {
	for _, d := range list {
		if !d.To.Add(inFlight).Before(from) && !d.From.After(to) {
			return true
		}
	}
	return false
}
