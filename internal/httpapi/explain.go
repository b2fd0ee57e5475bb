package httpapi

import (
	"encoding/json"
	"time"

	"hark/internal/attempts"
	"hark/internal/event"
	"hark/internal/id"
	"hark/internal/problem"
	"hark/internal/shard"
	"hark/internal/subscription"
)

type explainBody struct {
	EventID        id.Event        `json:"eventId"`
	Event          *eventBody      `json:"event"`
	InstalledAppID id.InstalledApp `json:"installedAppId"`
}

type explainAnswer struct {
	Event         any                 `json:"event"`
	Position      uint64              `json:"position"`
	Explanations  []shard.Explanation `json:"explanations"`
	Subscriptions int                 `json:"subscriptions"`
	Matched       int                 `json:"matched"`
	Attempts      []*attempts.Attempt `json:"attempts,omitempty"` // of a past event, newest first
}

// maxExplained is how many attempts an explanation shows.
const maxExplained = 50

// explain says of a past event, or one that could happen, what becomes of it for each
// subscription, and why.
func (c *call) explain() (any, error) {
	var body explainBody
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	var e *event.Event
	var err error
	switch {
	case !body.EventID.IsZero():
		e, err = c.shard.FindEvent(c.Context(), c.principal, body.EventID)
	case body.Event != nil:
		e, err = c.shard.Imagine(c.principal, body.Event.report())
	default:
		err = problem.Field("eventId", "NotNullError", "is missing, and so is event; one of them says what to explain")
	}
	if err != nil {
		return nil, err
	}
	list, err := c.shard.Explain(c.principal, e, body.InstalledAppID)
	if err != nil {
		return nil, err
	}
	answer := explainAnswer{Event: e.Webhook(""), Position: e.Seq, Explanations: list, Subscriptions: len(list)}
	for _, x := range list {
		if x.Verdict != shard.NotMatched {
			answer.Matched++
		}
	}
	if !body.EventID.IsZero() {
		q := attempts.Query{InstalledApp: body.InstalledAppID, Event: e.ID, Since: e.Time}
		if answer.Attempts, _, err = c.shard.FindAttempts(c.Context(), c.principal, q, maxExplained); err != nil {
			return nil, err
		}
	}
	if list == nil {
		answer.Explanations = []shard.Explanation{}
	}
	return answer, nil
}

type previewAnswer struct {
	Events []any `json:"events"`
	Count  int   `json:"count"`
	More   bool  `json:"more"` // there are others; ask since a later time
}

// preview answers what a subscription that does not exist would have sent.
func (c *call) preview() (any, error) {
	var body struct {
		InstalledAppID id.InstalledApp `json:"installedAppId"`
		Subscription   json.RawMessage `json:"subscription"`
		Since          time.Time       `json:"since"` // absent is as far back as the journal is looked at
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if len(body.Subscription) == 0 {
		return nil, problem.Field("subscription", "NotNullError", "is missing; it is as in a create")
	}
	draft, err := subscription.ParseRequest(body.Subscription)
	if err != nil {
		return nil, err
	}
	events, more, err := c.shard.Preview(c.Context(), c.principal, body.InstalledAppID, draft, body.Since)
	if err != nil {
		return nil, err
	}
	answer := previewAnswer{Events: []any{}, Count: len(events), More: more}
	for _, e := range events {
		answer.Events = append(answer.Events, e.Webhook(draft.Name()))
	}
	return answer, nil
}
