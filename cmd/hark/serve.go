package main

import (
	"errors"
	"fmt"

	"hark/internal/hark"
)

type serveCommand struct {
	ReadyFile string `help:"Write where the server is reached to this file, as JSON, once it answers." type:"path" placeholder:"FILE"`
}

// Run implements the command.
func (s *serveCommand) Run(in *invocation) error {
	if in.settings.Data == "" {
		return errors.New("hark serve needs --data DIR, the directory that keeps everything")
	}
	return in.run(hark.Serve, func(server *hark.Server) error {
		state := "ready"
		if !server.Active() {
			state = "standing by"
		}
		in.settings.Logger(in.stderr).Info("hark is "+state, "baseUrl", server.BaseURL(), "data", in.settings.Data, "nats", in.settings.NATS.URL)
		if err := writeReady(s.ReadyFile, ready{BaseURL: server.BaseURL()}); err != nil {
			return fmt.Errorf("ready file: %w", err)
		}
		return nil
	})
}
