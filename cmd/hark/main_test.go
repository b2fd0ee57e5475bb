package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"hark": main}) }

// TestScripts runs what a user would type.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"await": await,
			"get":   getURL,
			"post":  postURL,
			"found": found,
			"pick":  pick,
		},
	})
}

// await waits until a file exists: await FILE. It sets the variables that a ready file has.
func await(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil {
			for _, name := range []string{"baseUrl", "token", "locationId"} {
				if _, rest, ok := bytes.Cut(b, []byte(`"`+name+`":"`)); ok {
					value, _, _ := bytes.Cut(rest, []byte(`"`))
					ts.Setenv(name, string(value))
				}
			}
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not exist after 20 s", args[0])
		}
	}
}

// getURL prints what a path answers: get TOKEN URL. The token may be that of the last
// command's output, "stdout".
func getURL(ts *testscript.TestScript, neg bool, args []string) {
	token := args[0]
	if token == "stdout" {
		token = strings.TrimSpace(ts.ReadFile("stdout"))
	}
	r, err := http.NewRequest("GET", args[1], nil)
	ts.Check(err)
	ask(ts, neg, r, token)
}

// postURL posts JSON and prints the answer: post TOKEN URL JSON.
func postURL(ts *testscript.TestScript, neg bool, args []string) {
	r, err := http.NewRequest("POST", args[1], strings.NewReader(strings.Join(args[2:], " ")))
	ts.Check(err)
	ask(ts, neg, r, args[0])
}

// found repeats a command until it prints the text: found TEXT exec COMMAND...
func found(ts *testscript.TestScript, neg bool, args []string) {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec(args[2], args[3:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
	}
	ts.Fatalf("%v did not print %s within 20 s", args[2:], args[0])
}

func ask(ts *testscript.TestScript, neg bool, r *http.Request, token string) {
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	ts.Check(err)
	if (response.StatusCode == http.StatusOK) == neg {
		ts.Fatalf("%s: %s %s", r.URL, response.Status, b)
	}
	fmt.Fprintf(ts.Stdout(), "%s\n", b)
}

// pick sets a variable to the first member of the name in the last output: pick VARIABLE NAME.
func pick(ts *testscript.TestScript, neg bool, args []string) {
	_, rest, ok := strings.Cut(ts.ReadFile("stdout"), `"`+args[1]+`":"`)
	if !ok {
		ts.Fatalf("no member %s", args[1])
	}
	value, _, _ := strings.Cut(rest, `"`)
	ts.Setenv(args[0], value)
}
