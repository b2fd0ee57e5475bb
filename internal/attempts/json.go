package attempts

import (
	"strconv"
	"time"

	"hark/internal/id"
	"hark/internal/jsontext"
)

// append appends the attempt as JSON, as encoding/json would but faster: there is one for each
// delivery. Its place in the log is left out.
func (a *Attempt) append(b []byte) []byte {
	b = a.Time.AppendFormat(append(b, `{"time":"`...), time.RFC3339Nano)
	b = append(name(append(b, `","installedAppId":"`...), a.InstalledApp), '"')
	b = member(b, "messageId", a.MessageID)
	b = member(b, "appName", a.App)
	b = member(b, "request", a.Request)
	b = member(b, "outcome", a.Outcome)
	b = member(b, "message", a.Message)
	b = member(b, "response", a.Response)
	b = member(b, "replay", a.Replay)
	if a.Status != 0 {
		b = strconv.AppendInt(append(b, `,"status":`...), int64(a.Status), 10)
	}
	if l := a.Latency; l != nil {
		b = number(append(b, `,"latency":{"totalMs":`...), l.Total)
		for _, part := range []struct {
			name string
			ms   float64
		}{{"dnsMs", l.DNS}, {"connectMs", l.Connect}, {"tlsMs", l.TLS}, {"firstByteMs", l.FirstByte}} {
			if part.ms != 0 {
				b = number(append(append(append(b, `,"`...), part.name...), `":`...), part.ms)
			}
		}
		b = append(b, '}')
	}
	b = append(b, `,"events":[`...)
	for i, e := range a.Events {
		if i > 0 {
			b = append(b, ',')
		}
		b = name(append(b, `{"eventId":"`...), e.ID)
		b = strconv.AppendUint(append(b, `","position":`...), e.Position, 10)
		b = append(name(append(b, `,"subscriptionId":"`...), e.Subscription), '"')
		b = member(b, "subscriptionName", e.Name)
		if !e.Device.IsZero() {
			b = append(e.Device.Append(append(b, `,"deviceId":"`...)), '"')
		}
		b = append(b, '}')
	}
	return append(b, ']', '}')
}

// name appends an id, and nothing for none: what goes out unasked has no subscription.
func name[K any](b []byte, of id.ID[K]) []byte {
	if of.IsZero() {
		return b
	}
	return of.Append(b)
}

// member appends a member that has one before it, unless its value is empty.
func member(b []byte, name, value string) []byte {
	if value == "" {
		return b
	}
	return jsontext.Append(append(append(append(b, `,"`...), name...), `":`...), value)
}

func number(b []byte, v float64) []byte { return strconv.AppendFloat(b, v, 'f', -1, 64) }
