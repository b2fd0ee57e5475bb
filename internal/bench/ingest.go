package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
)

// powerReport is one line of POST /hark/v1/events.
func powerReport(device string, value int64) string {
	return fmt.Sprintf(`{"deviceId":%q,"capability":"powerMeter","attribute":"power","value":%d,"unit":"W"}`, device, value)
}

func powerReports(device string, count int) string {
	var b strings.Builder
	for i := range count {
		b.WriteString(powerReport(device, int64(i+1)) + "\n")
	}
	return b.String()
}

// ingest measures reports until they are acknowledged, which is when they are durable.
func (l *lab) ingest(ctx context.Context) error {
	h, err := l.hark(ctx, "ingest")
	if err != nil {
		return err
	}
	defer end(h)
	device, err := h.Meter("bench")
	if err != nil {
		return err
	}
	client, url := newClient(), h.BaseURL+"/hark/v1/events"
	var value atomic.Int64
	v, err := rate(ctx, 256, l.For, func(int) error {
		_, err := post(client, url, h.Token, powerReport(device, value.Add(1)))
		return err
	})
	if err != nil {
		return err
	}
	l.atLeast(12_000, Figure{Name: "ingest, one report a request, 256 clients", Value: v, Unit: "events/s", Limit: limitPOSTs})

	const lines = 100
	body := powerReports(device, lines)
	v, err = rate(ctx, 16, l.For, func(int) error {
		content, err := post(client, url, h.Token, body)
		var answer struct{ Accepted int }
		if err == nil {
			err = json.Unmarshal(content, &answer)
		}
		if err == nil && answer.Accepted != lines {
			err = fmt.Errorf("%d of %d reports were accepted", answer.Accepted, lines)
		}
		return err
	})
	l.ofLimit(0.5, Figure{Name: "ingest, 100 reports a request, 16 clients", Value: v * lines, Unit: "events/s", Limit: limitEngine})
	return err
}
