// Command hark is a self-hosted server that speaks the event side of the SmartThings public
// API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"hark/internal/hark"
)

// gcPercent trades memory for time: a tenth more deliveries a second, see docs/performance.md.
const gcPercent = 200

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "hark: "+err.Error())
		os.Exit(1)
	}
}

// cli is the command line: the settings, which are the same for every command, and the
// commands.
type cli struct {
	Config   kong.ConfigFlag `help:"YAML file with settings, each named as its flag." placeholder:"FILE" env:"HARK_CONFIG"`
	Settings hark.Config     `embed:""`

	Dev        devCommand        `cmd:"" help:"Run a whole home on this machine, with virtual devices and a token to start with."`
	Serve      serveCommand      `cmd:"" help:"Run the server."`
	Token      tokenCommand      `cmd:"" help:"Make, list and revoke personal access tokens."`
	Account    accountCommand    `cmd:"" help:"Add, list and delete the people who may sign in."`
	CA         caCommand         `cmd:"" name:"ca" help:"Make a certificate authority for this server's HTTPS, and say how to trust it."`
	Explain    explainCommand    `cmd:"" help:"Say of an event what becomes of it for each subscription, and why."`
	Deliveries deliveriesCommand `cmd:"" help:"Show attempts to deliver events: what was sent, what came back, how long it took."`
	Replay     replayCommand     `cmd:"" help:"Send past events to an installed app again, or to another address."`
	Keys       keysCommand       `cmd:"" help:"List and rotate the keys that calls to apps are signed with."`
	Bench      benchCommand      `cmd:"" help:"Measure a hark on this machine, each figure beside the limit that it runs into."`
	BenchPost  benchPostCommand  `cmd:"" hidden:"" help:"A part of bench: posts to a URL."`
	Torture    tortureCommand    `cmd:"" help:"Run a hark, kill, stop and starve it for a while, and check that nothing that it acknowledged was lost."`
	Print      configCommand     `cmd:"" name:"config" help:"Print every setting with its meaning and the value in force, as a YAML file."`
	Version    versionCommand    `cmd:"" help:"Print the version."`
}

// invocation is what a command is run with.
type invocation struct {
	context.Context
	stdout, stderr io.Writer
	settings       hark.Config
	kong           *kong.Context
}

// exited is how the command line's parser ends the program, after --help for example.
type exited int

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	defer func() {
		if code, ok := recover().(exited); ok && code != 0 {
			err = fmt.Errorf("exit status %d", code)
		}
	}()
	var c cli
	parser, err := kong.New(&c,
		kong.Name("hark"),
		kong.Description("A self-hosted server that speaks the event side of the SmartThings public API. Not affiliated with Samsung."),
		kong.DefaultEnvars("HARK"),
		kong.Configuration(settingsFile),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(exited(code)) }),
		kong.UsageOnError(),
	)
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		return fmt.Errorf("%w; `hark --help` lists the commands and settings", err)
	}
	return parsed.Run(&invocation{ctx, stdout, stderr, c.Settings, parsed})
}

// settingsFile reads settings from a YAML file: a key for each flag. A key that is no flag
// is an error, since it would do nothing.
func settingsFile(r io.Reader) (kong.Resolver, error) {
	values := map[string]any{}
	if err := yaml.NewDecoder(r).Decode(&values); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("settings file: %w", err)
	}
	return fileResolver(values), nil
}

type fileResolver map[string]any

// Validate implements kong.Resolver.
func (f fileResolver) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flags := range app.AllFlags(false) {
		for _, flag := range flags {
			known[flag.Name] = true
		}
	}
	for key := range f {
		if !known[key] {
			return fmt.Errorf("the settings file has the key %q, which is no setting; `hark config` lists them", key)
		}
	}
	return nil
}

// Resolve implements kong.Resolver. The environment wins over the file, which kong has the
// other way round.
func (f fileResolver) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if os.Getenv(name) != "" {
			return nil, nil
		}
	}
	v, ok := f[flag.Name]
	if !ok {
		return nil, nil
	}
	return fmt.Sprint(v), nil
}
