.PHONY: help dev test check bench fuzz

help: ## what there is
	@grep -E '^[a-z]+:.*##' Makefile | sed 's/:.*##/\t/'

dev: ## run a whole home on this machine
	go run ./cmd/hark dev

test: ## pass the tests
	go test ./...

check: ## everything that must hold before a change lands
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "not formatted: run gofmt -w ."; exit 1; }
	go vet ./...
	go fix -diff ./...
	go tool -modfile=tools/go.mod staticcheck ./...
	go mod tidy -diff
	@for os in darwin windows; do echo "GOOS=$$os go build ./cmd/hark"; GOOS=$$os go build -o /dev/null ./cmd/hark || exit 1; done
	go test ./...
	go test -race ./internal/... ./cmd/...

bench: ## measure, see docs/performance.md
	go test -run xxx -bench . ./internal/...

fuzz: ## ten seconds for each decoder of foreign bytes
	@for p in $$(go list ./internal/...); do for f in $$(go test -list '^Fuzz' $$p | grep ^Fuzz); do \
		echo "$$p $$f"; go test -run xxx -fuzz "^$$f$$" -fuzztime 10s $$p || exit 1; done; done
