package main

import (
	"fmt"
	"runtime/debug"
	"strings"

	"go.yaml.in/yaml/v3"
)

type configCommand struct{}

// Run implements the command. What it prints can be read back with --config.
func (*configCommand) Run(in *invocation) error {
	fmt.Fprintln(in.stdout, "# Settings of hark: flag --name, environment variable HARK_NAME, or a key in this file.")
	for _, flag := range in.kong.Model.Flags {
		if flag.Name == "help" || flag.Name == "config" {
			continue
		}
		value, err := yaml.Marshal(fmt.Sprint(in.kong.FlagValue(flag)))
		if err != nil {
			return err
		}
		fmt.Fprintf(in.stdout, "\n# %s (%s)\n%s: %s\n", flag.Help, strings.Join(flag.Envs, ", "), flag.Name, strings.TrimSpace(string(value)))
	}
	return nil
}

type versionCommand struct{}

// Run implements the command.
func (*versionCommand) Run(in *invocation) error {
	version, revision := "development build", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if v := info.Main.Version; v != "" && v != "(devel)" {
			version = v
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	_, err := fmt.Fprintf(in.stdout, "hark %s%s\n", version, revision)
	return err
}
