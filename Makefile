# The same words as .ci/run, which calls these targets.

GO ?= go
T ?= 1m
N ?= 100
CONTROL ?= 20
SEED ?= 0
FUZZ = $(shell cd fuzz 2>/dev/null && grep -ho '^func Fuzz[A-Za-z0-9]*' *_test.go | sed 's/func //')

.PHONY: $(shell sed -n 's/^\([a-z]*\):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

all: check

check: vet staticcheck tidy race portable ## everything that needs no broker

test: ## what the README says
	$(GO) test ./...

race:
	$(GO) test -race -shuffle=on ./...

vet:
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofmt: $$out"; exit 1; }
	$(GO) vet ./...

# staticcheck stands in a module of its own, so that it reaches nobody who imports us.
staticcheck:
	cd tools && $(GO) build -o ../bin/staticcheck honnef.co/go/tools/cmd/staticcheck
	bin/staticcheck ./...
	cd bench && ../bin/staticcheck ./...

tidy:
	$(GO) mod tidy -diff
	cd tools && $(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff

portable: ## other word sizes, byte orders and systems
	.ci/portable

fuzz: ## each target for T: make fuzz T=10m
	@for f in $(FUZZ); do echo "== $$f"; $(GO) test ./fuzz -run '^$$' -fuzz "^$$f\$$" -fuzztime $(T) || exit 1; done

sim: ## the simulation, a hundred thousand seeds, and the bugs that it must find
	$(GO) test ./fuzz -run 'TestSim|TestMutants' -sim.seeds=100000

# Test binaries run by themselves, so that progress reaches the terminal.
torture: ## kill -9 a client N times against mosquitto, then a peer, as a control: make torture N=100
	$(GO) test -c -o bin/torture.test ./internal/torture
	CI=true bin/torture.test -test.v -test.run '^TestTorture$$' -test.timeout 4h -torture.n=$(N) -torture.seed=$(SEED)
	cd bench && $(GO) test -c -o ../bin/control.test ./torture
	CI=true bin/control.test -test.v -test.timeout 4h -torture.n=$(CONTROL) -torture.seed=$(SEED)

nightly: ## the long forms: ten minutes a fuzz target, millions of seeds, a thousand kills
	$(MAKE) fuzz T=10m
	$(MAKE) torture N=1000
	$(GO) test ./fuzz -run 'TestSim|TestMutants' -sim.seeds=5000000 -timeout 4h

bench: ## beside peers and the limit; results, table and charts go to bench/results
	cd bench && $(GO) run . -out results -readme ../README.md -check
	$(GO) test -run '^$$' -bench . -benchmem ./packets ./session ./client ./client/wal

profile: ## where the time goes: pprof files in bin/profile, the top costs as text
	cd bench && $(GO) run . -profile ../bin/profile

# A broker in JavaScript, for tests. It goes to bin, where no tool of Go looks at it.
aedes: ## install the second broker for the tests
	mkdir -p bin/aedes
	cp internal/aedes/server/* bin/aedes
	cd bin/aedes && npm ci --ignore-scripts --no-audit --no-fund --silent

# Another broker, from the same module of its own as staticcheck.
nats: ## install the third broker for the tests
	cd tools && $(GO) build -o ../bin/nats-server github.com/nats-io/nats-server/v2

interop: ## real brokers: mosquitto over TCP, TLS, WS and WSS, aedes, nats-server
	CI=true $(GO) test -count=1 -run 'Interop' ./...

golden: ## rewrite the outcomes of the conversations; read the diff
	$(GO) test ./session -update
	git diff --stat

cover:
	$(GO) test -coverprofile=bin/cover.out ./packets ./session ./client ./transport/... ./connector/...
	$(GO) tool cover -func=bin/cover.out | tail -n 1
