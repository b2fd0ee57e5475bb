package main

import (
	"errors"

	"hark/internal/hark"
)

// run runs a server, and another in its place whenever its engine must start anew. Ready is called
// when the first one is about to answer.
func (in *invocation) run(purpose hark.Purpose, ready func(*hark.Server) error) error {
	log := in.settings.Logger(in.stderr)
	for first := true; ; first = false {
		server, err := hark.New(in, in.settings, log, purpose)
		if err != nil {
			return err
		}
		if first {
			if err := ready(server); err != nil {
				return err
			}
			in.settings.Listen = server.Address() // port 0 is no other port then
		}
		if err = server.Run(in); !errors.Is(err, hark.ErrStartAnew) {
			return err
		}
		log.Warn("starting anew, at the same address", "because", err)
	}
}
