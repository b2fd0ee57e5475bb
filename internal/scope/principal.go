package scope

import (
	"slices"
	"strings"

	"hark/internal/id"
	"hark/internal/problem"
)

// Principal is who calls: a person by a personal access token, or an installed app by one
// of its tokens. Scopes are those in force now, so a revoked one is gone from the next call.
type Principal struct {
	Name         string          // for messages and logs: the token's or the app's name
	InstalledApp id.InstalledApp // zero for a person
	App          id.App          // zero for a person
	Location     id.Location     // an installed app's location; zero for a person
	Account      id.Account      // a person's, or that of whose home an app is installed in; zero is the server's owner
	Homes        []id.Location   // an account's locations
	Scopes       Set
}

// IsApp reports whether an installed app calls.
func (p Principal) IsApp() bool { return !p.InstalledApp.IsZero() }

// Sees reports whether the location is the principal's business, whatever its scopes: an
// installed app's is its own alone, a person's are their own, and the server's owner sees all.
func (p Principal) Sees(at id.Location) bool {
	if p.IsApp() {
		return p.Location == at
	}
	return p.Account.IsZero() || slices.Contains(p.Homes, at)
}

// May reports whether the principal holds one of the needed scopes.
func (p Principal) May(needs ...Scope) bool {
	return slices.ContainsFunc(needs, p.Scopes.Covers)
}

// Require returns nil when the principal holds one of the needed scopes, else a refusal
// that names what is missing, what is held, and what would help.
func (p Principal) Require(needs ...Scope) error {
	if p.May(needs...) {
		return nil
	}
	missing := strings.Join(Set(needs).Strings(), " or ")
	held := "no scopes"
	if len(p.Scopes) > 0 {
		held = strings.Join(p.Scopes.Strings(), " ")
	}
	help := "make a personal access token that has it"
	if p.IsApp() {
		help = "add it to the app's scopes and let the user grant it, for example in `permissions` of PUT /installedapps/" +
			p.InstalledApp.String() + "/configs"
	}
	return problem.New(problem.Denied, "Missing scope %s. The caller (%s) holds: %s. To mend it, %s.", missing, p.Name, held, help).
		At("scope").With(problem.Detail{Code: "MissingScope", Target: missing, Message: "The request needs the scope " + missing + "."})
}
