package main

import (
	"fmt"
	"os"
	"time"

	"hark/internal/bench"
)

type benchCommand struct {
	Only          []string      `help:"What is measured: limits, ingest, delivery, latency, idle, start, soak. Default: all but soak." placeholder:"NAME"`
	For           time.Duration `help:"How long each measurement takes, about." default:"6s"`
	Subscriptions int           `help:"How many subscriptions a start reads." default:"100000"`
	Soak          time.Duration `help:"How long a soak takes." default:"30m"`
	JSON          bool          `name:"json" help:"Print the report as JSON."`
}

type benchPostCommand struct {
	URL         string        `arg:""`
	Connections int           `arg:""`
	For         time.Duration `arg:""`
}

// Run implements the command.
func (x *benchPostCommand) Run(in *invocation) error {
	v, err := bench.Post(in, x.URL, x.Connections, x.For)
	if err == nil {
		fmt.Fprintln(in.stdout, v)
	}
	return err
}

// Run implements the command.
func (x *benchCommand) Run(in *invocation) error {
	binary, err := os.Executable()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "hark-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	report, err := bench.Run(in, bench.Config{Binary: binary, Dir: dir, For: x.For, Only: x.Only, Subscriptions: x.Subscriptions, Soak: x.Soak, Out: in.stderr})
	if err != nil {
		return err
	}
	if !x.JSON {
		report.Print(in.stdout)
		return nil
	}
	b, err := report.JSON()
	if err == nil {
		fmt.Fprintln(in.stdout, string(b))
	}
	return err
}
