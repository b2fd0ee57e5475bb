package main

import (
	"fmt"
	"net/http"
	"time"
)

type keysCommand struct {
	List   keysList   `cmd:"" default:"1" help:"List the keys that calls to apps are signed with."`
	Rotate keysRotate `cmd:"" help:"Sign with new keys from now on. Certificates of old ones stay served; apps registered with APP_RSA keep the key they were given until PUT /apps/{id}/signature-type."`
}

type keysList struct{}

type keysRotate struct{}

// Run implements the command.
func (*keysList) Run(in *invocation) error { return keys(in, http.MethodGet) }

// Run implements the command.
func (*keysRotate) Run(in *invocation) error { return keys(in, http.MethodPost) }

func keys(in *invocation, method string) error {
	var answer struct {
		Items []struct {
			KeyID     string    `json:"keyId"`
			Algorithm string    `json:"algorithm"`
			Created   time.Time `json:"created"`
			Current   bool      `json:"current"`
		} `json:"items"`
	}
	if err := control(in, method, "/hark/v1/keys", nil, &answer); err != nil {
		return err
	}
	for _, k := range answer.Items {
		state := "old"
		if k.Current {
			state = "signs"
		}
		fmt.Fprintf(in.stdout, "%s  %-12s  %-5s  %s\n", k.Created.Local().Format("2006-01-02 15:04:05"), k.Algorithm, state, k.KeyID)
	}
	return nil
}
