package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"hark/internal/torture"
)

type tortureCommand struct {
	For  time.Duration `help:"How long it is disturbed." default:"2m"`
	Disk bool          `help:"Also fill its disk and make it read-only: needs the right to mount a file system."`
	JSON bool          `name:"json" help:"Print the report as JSON."`
}

// Run implements the command.
func (x *tortureCommand) Run(in *invocation) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hark-torture-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	report, err := torture.Run(in, torture.Config{Binary: binary, Dir: dir, For: x.For, Disk: x.Disk, Out: in.stderr})
	if err != nil {
		return err
	}
	if x.JSON {
		b, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintln(in.stdout, string(b))
	} else {
		report.Print(in.stdout)
	}
	if n := len(report.Problems()); n > 0 {
		return fmt.Errorf("the ledger shows %d problems", n)
	}
	if report.Acknowledged == 0 {
		return errors.New("nothing was acknowledged")
	}
	return nil
}
