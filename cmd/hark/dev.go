package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"hark/internal/hark"
)

type devCommand struct {
	ReadyFile string `help:"Write baseUrl, token, locationId and pid to this file, as JSON, once the server answers." type:"path" placeholder:"FILE"`
}

// ready is what a ready file holds.
type ready struct {
	BaseURL    string `json:"baseUrl"`
	Token      string `json:"token,omitempty"`
	LocationID string `json:"locationId,omitempty"`
	PID        int    `json:"pid"`
}

// Run implements the command.
func (d *devCommand) Run(in *invocation) error {
	if in.settings.Data == "" {
		dir, err := os.MkdirTemp("", "hark-dev-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		in.settings.Data = dir
	}
	return in.run(hark.Demo, func(server *hark.Server) error {
		token, err := server.OwnerToken(in, in.settings.Data)
		if err != nil {
			return fmt.Errorf("make a token: %w", err)
		}
		home, devices := server.Home()
		fmt.Fprintf(in.stdout, `hark dev: %s, a home with %d virtual devices

  Console   %s/?token=%s
  API       %s
  Token     %s
  Location  %s

Start with:

  curl -H "Authorization: Bearer %s" %s/devices

Stop with Ctrl-C.

`, home.Name, devices, server.BaseURL(), token, server.BaseURL(), token, home.ID, token, server.BaseURL())
		if err := writeReady(d.ReadyFile, ready{server.BaseURL(), token, home.ID.String(), os.Getpid()}); err != nil {
			return fmt.Errorf("ready file: %w", err)
		}
		return nil
	})
}

// writeReady writes the file whole or not at all: who waits for it may read it at once.
func writeReady(path string, r ready) error {
	if path == "" {
		return nil
	}
	r.PID = os.Getpid()
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".ready-")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name()) // fails when the rename did its work
	if _, err := temp.Write(append(b, '\n')); err != nil {
		return err
	}
	if err := temp.Close(); err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}
