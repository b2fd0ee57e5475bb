// Command receiver is the smallest app that can trust what it gets: it verifies the signature
// of each webhook by the key server, answers 200, and prints what happened. It uses nothing
// but the standard library; copy it.
package main

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"regexp"
	"sync"
	"time"
)

var (
	listen  = flag.String("listen", "127.0.0.1:9000", "address to listen on")
	keyHost = flag.String("keys", "http://127.0.0.1:8080", "the server whose keys are trusted")

	keys sync.Map // keyId to *rsa.PublicKey: a new key has a new id
)

func main() {
	flag.Parse()
	http.HandleFunc("POST /", receive)
	fmt.Println("receiver: listening on " + *listen)
	log.Fatal(http.ListenAndServe(*listen, nil))
}

func receive(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err == nil {
		err = verify(r, body)
	}
	if err != nil {
		fmt.Println("refused:", err)
		http.Error(w, "forbidden", http.StatusUnauthorized)
		return
	}
	var call struct {
		MessageType string `json:"messageType"`
		EventData   struct {
			Events []struct {
				EventType   string          `json:"eventType"`
				DeviceEvent json.RawMessage `json:"deviceEvent"`
			} `json:"events"`
		} `json:"eventData"`
	}
	if err := json.Unmarshal(body, &call); err != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	if call.MessageType == "CONFIRMATION" {
		fmt.Println("asked to confirm: hark dev trusts targets on this machine without")
	}
	for _, e := range call.EventData.Events {
		fmt.Printf("verified %s %s\n", e.EventType, e.DeviceEvent)
	}
	fmt.Fprint(w, "{}")
}

var parameter = regexp.MustCompile(`([a-zA-Z]+)="([^"]*)"`)

// verify reports what is wrong with the digest, the date or the signature.
func verify(r *http.Request, body []byte) error {
	sum := sha256.Sum256(body)
	if r.Header.Get("Digest") != "SHA256="+base64.StdEncoding.EncodeToString(sum[:]) {
		return errors.New("the digest is not the body's")
	}
	at, err := http.ParseTime(r.Header.Get("Date"))
	if err != nil || time.Since(at).Abs() > 5*time.Minute {
		return errors.New("the date is too far from now")
	}
	params := map[string]string{}
	for _, m := range parameter.FindAllStringSubmatch(r.Header.Get("Authorization"), -1) {
		params[m[1]] = m[2]
	}
	key, err := publicKey(params["keyId"])
	if err != nil {
		return err
	}
	signature, err := base64.StdEncoding.DecodeString(params["signature"])
	if err != nil {
		return err
	}
	signed := sha256.Sum256([]byte("(request-target): post " + r.URL.EscapedPath() + "\ndigest: " + r.Header.Get("Digest") + "\ndate: " + r.Header.Get("Date")))
	return rsa.VerifyPKCS1v15(key, crypto.SHA256, signed[:], signature)
}

func publicKey(keyID string) (*rsa.PublicKey, error) {
	if key, ok := keys.Load(keyID); ok {
		return key.(*rsa.PublicKey), nil
	}
	if !regexp.MustCompile(`^/pl/[a-z0-9]+/[0-9a-f-]+$`).MatchString(keyID) {
		return nil, fmt.Errorf("no key of a key server: %q", keyID)
	}
	response, err := http.Get(*keyHost + keyID)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("the key server answers %s", response.Status)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := certificate.PublicKey.(*rsa.PublicKey)
	if !ok {
		return nil, errors.New("the key is not RSA")
	}
	keys.Store(keyID, key)
	return key, nil
}
