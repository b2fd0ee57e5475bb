package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

type accountCommand struct {
	Create   accountCreate   `cmd:"" help:"Add a person who signs in with a password, read from the standard input. Each sees only their own homes."`
	List     accountList     `cmd:"" help:"List the people."`
	Password accountPassword `cmd:"" help:"Set another password, read from the standard input, and end the person's sessions."`
	Delete   accountDelete   `cmd:"" help:"Delete a person with their tokens. Their homes stay."`
}

type (
	accountCreate struct {
		Name string `arg:"" help:"What the person signs in with."`
	}
	accountPassword struct {
		Name string `arg:"" help:"What the person signs in with."`
	}
	accountDelete struct {
		Name string `arg:"" help:"What the person signs in with."`
	}
	accountList struct{}
)

// password reads a line of the standard input.
func password(in *invocation) (string, error) {
	fmt.Fprint(in.stderr, "Password: ")
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// Run implements the command.
func (a *accountCreate) Run(in *invocation) error {
	secret, err := password(in)
	if err != nil {
		return err
	}
	return control(in, http.MethodPost, "/hark/v1/accounts", map[string]string{"name": a.Name, "password": secret}, nil)
}

// Run implements the command.
func (a *accountPassword) Run(in *invocation) error {
	secret, err := password(in)
	if err != nil {
		return err
	}
	return control(in, http.MethodPut, "/hark/v1/accounts/"+url.PathEscape(a.Name)+"/password", map[string]string{"password": secret}, nil)
}

// Run implements the command.
func (a *accountDelete) Run(in *invocation) error {
	return control(in, http.MethodDelete, "/hark/v1/accounts/"+url.PathEscape(a.Name), nil, nil)
}

// Run implements the command.
func (a *accountList) Run(in *invocation) error {
	var list struct {
		Items []struct {
			Name    string    `json:"name"`
			Created time.Time `json:"created"`
		} `json:"items"`
	}
	if err := control(in, http.MethodGet, "/hark/v1/accounts", nil, &list); err != nil {
		return err
	}
	w := tabwriter.NewWriter(in.stdout, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tCREATED")
	for _, a := range list.Items {
		fmt.Fprintf(w, "%s\t%s\n", a.Name, a.Created.Format(time.RFC3339))
	}
	return w.Flush()
}
