package main

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type deliveriesCommand struct {
	App     string        `help:"Only those to this installed app." placeholder:"ID"`
	Device  string        `help:"Only those of this device's events." placeholder:"ID"`
	Event   string        `help:"Only those of this event." placeholder:"ID"`
	Outcome string        `help:"Only those that ended so: delivered, unhandled, refused, failed or withheld." enum:",delivered,unhandled,refused,failed,withheld" default:"" placeholder:"OUTCOME"`
	Since   time.Duration `help:"Only those of the last while, such as 1h." placeholder:"DURATION"`
	Limit   int           `help:"How many at most." default:"50"`
	Follow  bool          `short:"f" help:"Go on with new ones until interrupted."`
}

// delivery is an attempt to deliver, as the server shows it.
type delivery struct {
	ID     uint64    `json:"attemptId"`
	Time   time.Time `json:"time"`
	App    string    `json:"appName"`
	Events []struct {
		ID   string `json:"eventId"`
		Name string `json:"subscriptionName"`
	} `json:"events"`
	Request  string             `json:"request"`
	Status   int                `json:"status"`
	Outcome  string             `json:"outcome"`
	Message  string             `json:"message"`
	Latency  map[string]float64 `json:"latency"`
	Response string             `json:"response"`
	Replay   string             `json:"replay"`
}

// followEvery is how often new attempts are asked for.
const followEvery = 500 * time.Millisecond

// Run implements the command.
func (x *deliveriesCommand) Run(in *invocation) error {
	q := url.Values{}
	for name, value := range map[string]string{"installedAppId": x.App, "deviceId": x.Device, "eventId": x.Event, "outcome": x.Outcome} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if x.Since > 0 {
		q.Set("since", time.Now().Add(-x.Since).UTC().Format(time.RFC3339))
	}
	newest, err := x.newest(in, q)
	if err != nil {
		return err
	}
	last := uint64(1) // the opening of the log, which is no attempt
	for _, d := range newest {
		d.print(in)
		last = d.ID
	}
	for x.Follow {
		select {
		case <-time.After(followEvery):
		case <-in.Done():
			return nil
		}
		q.Set("after", strconv.FormatUint(last, 10))
		list, _, err := attempts(in, q)
		if err != nil {
			return err
		}
		for _, d := range list {
			d.print(in)
			last = d.ID
		}
	}
	return nil
}

// newest returns the newest attempts, as many as asked for, oldest first.
func (x *deliveriesCommand) newest(in *invocation, q url.Values) (list []delivery, err error) {
	for more := true; more && len(list) < x.Limit; {
		q.Set("max", strconv.Itoa(min(x.Limit-len(list), 200)))
		var found []delivery
		if found, more, err = attempts(in, q); err != nil {
			return nil, err
		}
		list = append(list, found...)
		if more {
			q.Set("before", strconv.FormatUint(found[len(found)-1].ID, 10))
		}
	}
	q.Del("before")
	q.Del("max")
	slices.Reverse(list)
	return list, nil
}

func attempts(in *invocation, q url.Values) (list []delivery, more bool, err error) {
	var answer struct {
		Items []delivery     `json:"items"`
		Links map[string]any `json:"_links"`
	}
	err = control(in, http.MethodGet, "/hark/v1/deliveries?"+q.Encode(), nil, &answer)
	return answer.Items, answer.Links["next"] != nil, err
}

// parts are those of a call's latency, in order.
var parts = []struct{ member, name string }{{"dnsMs", "dns"}, {"connectMs", "connect"}, {"tlsMs", "tls"}, {"firstByteMs", "first byte"}, {"totalMs", "total"}}

func (d *delivery) print(in *invocation) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %-9s  %s  ", d.Time.Local().Format("2006-01-02 15:04:05.000"), d.Outcome, d.App)
	if d.Status > 0 {
		fmt.Fprintf(&b, "%d  ", d.Status)
	}
	fmt.Fprint(&b, d.Request)
	var times []string
	for _, p := range parts {
		if ms := d.Latency[p.member]; ms > 0 {
			times = append(times, fmt.Sprintf("%s %.1f ms", p.name, ms))
		}
	}
	if len(times) > 0 {
		fmt.Fprintf(&b, "  (%s)", strings.Join(times, ", "))
	}
	if d.Replay != "" {
		fmt.Fprintf(&b, "  replay %s", d.Replay)
	}
	for _, e := range d.Events {
		fmt.Fprintf(&b, "\n    event %s for %s", e.ID, e.Name)
	}
	if d.Message != "" {
		fmt.Fprintf(&b, "\n    %s", d.Message)
	}
	fmt.Fprintln(in.stdout, b.String())
}
