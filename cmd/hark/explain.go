package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

type explainCommand struct {
	EventID      string `arg:"" optional:"" help:"The id of an event that happened."`
	Device       string `help:"Or: the id of a device that might report something." placeholder:"ID"`
	Component    string `help:"The device's component." default:"main"`
	Capability   string `help:"What it might report: the capability," placeholder:"NAME"`
	Attribute    string `help:"its attribute," placeholder:"NAME"`
	Value        string `help:"and the value: JSON, or plain text for a string." placeholder:"VALUE"`
	InstalledApp string `help:"Explain for this installed app only." placeholder:"ID"`
}

// explained is the server's answer.
type explained struct {
	Event         json.RawMessage `json:"event"`
	Subscriptions int             `json:"subscriptions"`
	Matched       int             `json:"matched"`
	Explanations  []struct {
		InstalledAppID string `json:"installedAppId"`
		AppName        string `json:"appName"`
		Subscription   struct {
			ID         string `json:"id"`
			SourceType string `json:"sourceType"`
		} `json:"subscription"`
		Verdict string `json:"verdict"`
		Why     string `json:"why"`
	} `json:"explanations"`
}

// Run implements the command.
func (x *explainCommand) Run(in *invocation) error {
	body := map[string]any{"installedAppId": x.InstalledApp}
	switch {
	case x.EventID != "":
		body["eventId"] = x.EventID
	case x.Device != "":
		value := json.RawMessage(x.Value)
		if !json.Valid(value) {
			value, _ = json.Marshal(x.Value) // a string always marshals
		}
		body["event"] = map[string]any{"deviceId": x.Device, "component": x.Component, "capability": x.Capability, "attribute": x.Attribute, "value": value}
	default:
		return errors.New("say what to explain: the id of an event, or --device, --capability, --attribute and --value")
	}
	var answer explained
	if err := control(in, http.MethodPost, "/hark/v1/explain", body, &answer); err != nil {
		return err
	}
	fmt.Fprintf(in.stdout, "%s\n\n%d of %d subscriptions match.\n", answer.Event, answer.Matched, answer.Subscriptions)
	for _, e := range answer.Explanations {
		fmt.Fprintf(in.stdout, "\n%s, %s subscription %s: %s\n  %s\n", e.AppName, e.Subscription.SourceType, e.Subscription.ID, e.Verdict, e.Why)
	}
	return nil
}
