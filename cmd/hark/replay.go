package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

type replayCommand struct {
	InstalledApp string   `arg:"" help:"The id of the installed app."`
	Since        string   `help:"Only events since then: a time such as 2026-01-02T03:04:05Z, or a while such as 2h." placeholder:"WHEN"`
	Until        string   `help:"Only events until then." placeholder:"WHEN"`
	Device       string   `help:"Only events of this device." placeholder:"ID"`
	Event        []string `help:"Only this event; may be repeated." placeholder:"ID"`
	DeadLetters  bool     `help:"Only the app's dead letters; those that it takes are none any more."`
	URL          string   `name:"url" help:"Send them there instead of to the app." placeholder:"URL"`
	Rate         float64  `help:"Events a second; 0 is as fast as the app answers."`
}

type replay struct {
	ID      string `json:"replayId"`
	State   string `json:"state"`
	Looked  int    `json:"looked"`
	Sent    int    `json:"sent"`
	Refused int    `json:"refused"`
	Message string `json:"message"`
}

// Run implements the command.
func (x *replayCommand) Run(in *invocation) error {
	body := map[string]any{"deadLetters": x.DeadLetters, "rate": x.Rate}
	for member, when := range map[string]string{"since": x.Since, "until": x.Until} {
		if when == "" {
			continue
		}
		at, err := parseWhen(when)
		if err != nil {
			return fmt.Errorf("--%s: %w", member, err)
		}
		body[member] = at
	}
	if x.Device != "" {
		body["deviceId"] = x.Device
	}
	if len(x.Event) > 0 {
		body["eventIds"] = x.Event
	}
	if x.URL != "" {
		body["url"] = x.URL
	}
	path := "/hark/v1/installedapps/" + x.InstalledApp + "/replays"
	var r replay
	if err := control(in, http.MethodPost, path, body, &r); err != nil {
		return err
	}
	for shown := ""; ; {
		if r.Message != "" && r.Message != shown {
			fmt.Fprintln(in.stderr, r.Message)
			shown = r.Message
		}
		switch r.State {
		case "running":
		case "finished":
			fmt.Fprintf(in.stdout, "replay %s: of %d events looked at, %d sent, %d refused\n", r.ID, r.Looked, r.Sent, r.Refused)
			return nil
		default:
			return fmt.Errorf("replay %s %s after %d events: %s", r.ID, r.State, r.Sent, r.Message)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-in.Done(): // the person wants no more of it
			last := *in
			last.Context = context.WithoutCancel(in.Context)
			return errors.Join(errors.New("replay stopped"), control(&last, http.MethodDelete, path+"/"+r.ID, nil, nil))
		}
		if err := control(in, http.MethodGet, path+"/"+r.ID, nil, &r); err != nil {
			return err
		}
	}
}

// parseWhen reads a time, or a while that has passed since.
func parseWhen(text string) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d).UTC(), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%q is neither a time such as 2026-01-02T03:04:05Z nor a while such as 2h", text)
	}
	return at, nil
}
