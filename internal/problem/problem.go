// Package problem is the vocabulary of refusals: a kind for the machine, a sentence for
// the person, a cause for the log. The HTTP edge turns a problem into a status and the
// API's error body in one place; nothing else knows about statuses.
package problem

import (
	"errors"
	"fmt"
)

// Kind says what sort of refusal an error is.
type Kind int

// The kinds. An error without a kind is a defect.
const (
	Defect          Kind = iota
	Invalid              // the request cannot be understood: 400
	Unauthenticated      // no token, or one that is unknown or has expired: 401
	Denied               // the token is good but lacks a scope or the right: 403
	NotFound             // no such resource; the API answers 403 for these (reference 1.9)
	NoPath               // no such path: 404
	NoMethod             // the path exists, the method does not: 405
	Conflict             // it exists already: 409
	Constraint           // well-formed, but a rule of the API is broken: 422
	Limit                // a limit is reached: 422
	TooMany              // a rate is exceeded: 429
	TooLarge             // the body is too large: 413
	Unsupported          // the API has it, hark does not: 501
	Unavailable          // the engine cannot take it now: 503
)

// Detail is one precise fault inside a refused request.
type Detail struct {
	Code    string   `json:"code"`
	Target  string   `json:"target,omitempty"`
	Message string   `json:"message"`
	Details []Detail `json:"details"`
}

// Error is a refusal.
type Error struct {
	Kind    Kind
	Code    string // the API's error code; empty means the kind's usual one
	Message string // a sentence that a person can act on
	Target  string // the field or parameter at fault, as a dotted path
	Details []Detail
	Cause   error // for the log only; never leaves the process
}

// New returns a refusal of the kind with a formatted sentence.
func New(kind Kind, format string, args ...any) *Error {
	e := &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
	for _, a := range args {
		if err, ok := a.(error); ok {
			e.Cause = err
		}
	}
	return e
}

// At names the field at fault.
func (e *Error) At(target string) *Error {
	e.Target = target
	return e
}

// Coded sets the API's error code where the kind's usual one does not fit.
func (e *Error) Coded(code string) *Error {
	e.Code = code
	return e
}

// With adds details.
func (e *Error) With(details ...Detail) *Error {
	e.Details = append(e.Details, details...)
	return e
}

// Field returns a refusal of one field: a ConstraintViolationError with a single detail,
// the shape in which the API reports payload faults (reference 1.9).
func Field(target, code, format string, args ...any) *Error {
	message := fmt.Sprintf(format, args...)
	return New(Constraint, "The request is malformed: %s: %s", target, message).At(target).
		With(Detail{Code: code, Target: target, Message: message})
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// KindOf returns the kind of err, Defect when it has none.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Defect
}
