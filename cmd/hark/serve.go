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
	log := in.settings.Logger(in.stderr)
	server, err := hark.New(in, in.settings, log, hark.Serve)
	if err != nil {
		return err
	}
	state := "ready"
	if !server.Active() {
		state = "standing by"
	}
	log.Info("hark is "+state, "baseUrl", server.BaseURL(), "data", in.settings.Data, "nats", in.settings.NATS.URL)
	if err := writeReady(s.ReadyFile, ready{BaseURL: server.BaseURL()}); err != nil {
		return fmt.Errorf("ready file: %w", err)
	}
	return server.Run(in)
}
