package signature

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// secretPrefix begins the secrets of the Standard Webhooks specification, 1.0.
const secretPrefix = "whsec_"

// NewSecret returns a secret for signatures by the Standard Webhooks specification.
func NewSecret() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return secretPrefix + base64.StdEncoding.EncodeToString(b)
}

// CheckSecret reports what is wrong with a secret that somebody chose.
func CheckSecret(secret string) error {
	_, err := decodeSecret(secret)
	return err
}

func decodeSecret(secret string) ([]byte, error) {
	text, ok := strings.CutPrefix(secret, secretPrefix)
	b, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(b) < 24 || len(b) > 64 {
		return nil, fmt.Errorf("is not %s and 24 to 64 bytes in base64", secretPrefix)
	}
	return b, nil
}

// SignStandard sets the headers webhook-id, webhook-timestamp and webhook-signature, with a
// signature for each secret: two while one replaces another. The id is the same in every attempt.
func SignStandard(r *http.Request, id string, body []byte, now time.Time, secrets ...string) error {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, secret := range secrets {
		key, err := decodeSecret(secret)
		if err != nil {
			return fmt.Errorf("sign: the secret %w", err)
		}
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(id + "." + timestamp + ".")) // a hash takes everything
		mac.Write(body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	r.Header.Set("Webhook-Id", id)
	r.Header.Set("Webhook-Timestamp", timestamp)
	r.Header.Set("Webhook-Signature", strings.Join(signatures, " "))
	return nil
}
