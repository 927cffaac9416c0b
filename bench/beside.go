package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mqtt311/mqtt311/client"
	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/packets"
)

// What users might choose instead of the connector.
const (
	nodeRED = "Node-RED"
	benthos = "Benthos"
)

// The topics between which messages are moved.
const (
	topicIn  = "bench/line7/in"
	topicOut = "bench/line7/out"
)

// A stepper is a program that performs a step. If it is not installed, the error of find says how
// to install it.
type stepper struct {
	find  func() (program string, err error)
	start func(program, addr string) (*exec.Cmd, func(), error)
}

// A besider is a peer, with our program to compare with it.
type besider struct {
	who  string
	peer stepper
	in   string // the engine in which both run; empty: none
	ours stepper
	most float64 // the limit for our processor time, as a fraction of the peer's
}

func (b besider) table() string { return "beside: " + b.in + b.who + ", QoS 1" }

var (
	self          = stepper{func() (string, error) { return "", nil }, startStep}
	ourBenthos    = stepper{installed("MQTT311_BENTHOS", "mqtt311-benthos", "go build -C ../connector/benthos -o ~/bin/ ./cmd/mqtt311-benthos"), startOurBenthos}
	besideNodeRED = stepper{installed("MQTT311_NODE_RED", "node-red", "npm install -g node-red"), startNodeRED}
	besideBenthos = stepper{installed("MQTT311_BESIDE", "mqtt311-beside", "go build -C beside -o ~/bin/mqtt311-beside ."), startBenthos}
)

var besides = []besider{
	{nodeRED, besideNodeRED, "", self, 1},
	{benthos, besideBenthos, "", self, 1},
	{benthos, besideBenthos, "in ", ourBenthos, 0.5}, // missed when both keep up: docs/decisions.md
}

// programs returns the paths of both programs, or an error that says what is missing.
func (b besider) programs() (ours, peer string, err error) {
	if ours, err = b.ours.find(); err == nil {
		peer, err = b.peer.find()
	}
	return ours, peer, err
}

// installed returns a function that finds a program: the one that an environment variable names, or
// one in the usual places.
func installed(variable, name, how string) func() (string, error) {
	return func() (string, error) {
		program, ok := os.LookupEnv(variable)
		if !ok {
			program = name
		}
		path, err := exec.LookPath(program)
		if err != nil {
			return "", fmt.Errorf("%s is not installed: %s, or set %s", program, how, variable)
		}
		return path, nil
	}
}

// besideTables measure a step from mosquitto to mosquitto, compared with each peer that is installed.
func (m method) besideTables() []table {
	mosquitto, err := findMosquitto()
	if err != nil {
		return nil
	}
	var all []table
	for _, b := range besides {
		ourProgram, peerProgram, err := b.programs()
		if err != nil {
			continue // leftOut says so
		}
		j := job{Work: "pass", Window: window, Round: max(m.Traffic, time.Second)}
		step := func(who, program string, s stepper) row {
			return row{who, func() (values, error) { return j.pass(mosquitto, program, s.start) }}
		}
		all = append(all, table{b.table(), []row{step(ours, ourProgram, b.ours), step(b.who, peerProgram, b.peer)}})
	}
	return all
}

// leftOut lists the tables, of those whose name contains only, that are not measured because something is not
// installed.
func leftOut(only string) (words []string) {
	for _, b := range besides {
		_, err := findMosquitto()
		if err == nil {
			_, _, err = b.programs()
		}
		if name := b.table(); err != nil && strings.Contains(name, only) {
			words = append(words, name+": "+err.Error())
		}
	}
	return words
}

// pass starts a server and a step, each on its own core, and lets the job send messages through
// them.
func (j job) pass(mosquitto, program string, start func(program, addr string) (*exec.Cmd, func(), error)) (values, error) {
	s, err := startMosquitto(mosquitto)
	if err != nil {
		return nil, err
	}
	defer s.stop()
	cmd, clean, err := start(program, s.addr)
	if err != nil {
		return nil, err
	}
	defer clean()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := pinned(first, cmd.Start); err != nil {
		return nil, err
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	j.Addr, j.Process = s.addr, cmd.Process.Pid
	v, err := j.run(second)
	if err != nil {
		err = fmt.Errorf("%w; the step says: %s", err, strings.TrimSpace(stderr.String()))
	}
	return v, err
}

// startStep starts the connector: a consumer whose flow is a producer.
func startStep(_, addr string) (*exec.Cmd, func(), error) {
	cmd, err := job{Work: "step", Addr: addr}.command()
	return cmd, func() {}, err
}

// step runs a connector until it is killed.
func step(j job) (values, error) {
	c, err := connector.New(connector.Config{
		General: connector.General{BrokerURL: j.Addr, ClientID: "step"},
		Consumers: map[string]connector.ConsumerParams{
			"in": {Topics: []connector.TopicQoS{{Topic: topicIn}}, QoS: packets.AtLeastOnce},
		},
		Producers: map[string]connector.ProducerParams{"out": {Topic: topicOut, QoS: packets.AtLeastOnce}},
	}, connector.Options{})
	if err != nil {
		return nil, err
	}
	if err := c.Consume("in", c.Producer("out")); err != nil {
		return nil, err
	}
	if err := c.Start(context.Background()); err != nil {
		return nil, err
	}
	<-c.Done()
	return nil, c.Err()
}

func startBenthos(program, addr string) (*exec.Cmd, func(), error) {
	return exec.Command(program, addr, topicIn, topicOut), func() {}, nil
}

// startOurBenthos starts the same engine, with our input and output instead of those based on paho.
func startOurBenthos(program, addr string) (*exec.Cmd, func(), error) {
	dir, err := os.MkdirTemp("", "mqtt311-bench-")
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(dir, "pipeline.yaml")
	err = os.WriteFile(file, fmt.Appendf(nil, `
input: {mqtt311: {urls: ["tcp://%[1]s"], topics: [%[2]q], batch_size: 64}}
output: {mqtt311: {urls: ["tcp://%[1]s"], topic: %[3]q, max_in_flight: 64}}
logger: {level: ERROR}
http: {enabled: false}
`, addr, topicIn, topicOut), 0o600)
	return exec.Command(program, "-c", file), func() { os.RemoveAll(dir) }, err
}

// startNodeRED connects a node that receives to one that publishes, without editor and web server.
func startNodeRED(program, addr string) (*exec.Cmd, func(), error) {
	dir, err := os.MkdirTemp("", "mqtt311-bench-")
	if err != nil {
		return nil, nil, err
	}
	clean := func() { os.RemoveAll(dir) }
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		clean()
		return nil, nil, err
	}
	type object = map[string]any
	flows, err := json.Marshal([]object{
		{"id": "t", "type": "tab", "label": "pass"},
		{"id": "b", "type": "mqtt-broker", "broker": host, "port": port, "clientid": "step", "autoConnect": true, "protocolVersion": "4", "keepalive": "60", "cleansession": true},
		{"id": "i", "type": "mqtt in", "z": "t", "topic": topicIn, "qos": "1", "datatype": "buffer", "broker": "b", "inputs": 0, "wires": [][]string{{"o"}}},
		{"id": "o", "type": "mqtt out", "z": "t", "topic": topicOut, "qos": "1", "retain": "false", "broker": "b", "wires": [][]string{}},
	})
	settings := "module.exports = {httpAdminRoot: false, httpNodeRoot: false, uiHost: '127.0.0.1', uiPort: 0, logging: {console: {level: 'error'}}}\n"
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "flows.json"), flows, 0o600), os.WriteFile(filepath.Join(dir, "settings.js"), []byte(settings), 0o600))
	return exec.Command(program, "--userDir", dir, "flows.json"), clean, err
}

// pass publishes to the step and receives from it, at most ahead messages apart. It counts what arrives within
// a round, after a quarter of a round for warming up. Processor time and memory are the step's.
func pass(j job) (values, error) {
	c, err := client.New(client.Config{
		Dial:     func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "tcp", j.Addr) },
		ClientID: "load", CleanSession: true, MaxInflight: j.Window, LendPayloads: true,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute+4*j.Round)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		return nil, err
	}
	defer c.Abort()
	var sent, received atomic.Int64
	arrived := make(chan struct{}, 1)
	go func() {
		for _, err := range c.Messages(ctx) {
			if err != nil {
				return
			}
			received.Add(1)
			select {
			case arrived <- struct{}{}:
			default:
			}
		}
	}()
	if _, err := c.Subscribe(ctx, packets.Subscription{Filter: topicOut, QoS: packets.AtLeastOnce}); err != nil {
		return nil, err
	}
	message := client.Message{Topic: topicIn, Payload: payload256, QoS: packets.AtLeastOnce}
	for received.Load() == 0 { // the step starts meanwhile
		if err := c.Publish(ctx, message); err != nil {
			return nil, err
		}
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	sent.Store(received.Load())
	wait := func(least int64) error {
		for received.Load() < least {
			select {
			case <-arrived:
			case <-ctx.Done():
				return fmt.Errorf("%d messages were published and %d came", sent.Load(), received.Load())
			}
		}
		return nil
	}
	through := func(until time.Time) error {
		for n := 0; n%16 != 0 || time.Now().Before(until); n++ {
			if s := sent.Add(1); s-received.Load() > ahead {
				if err := wait(s - ahead/2); err != nil {
					return err
				}
			}
			if _, err := c.PublishAsync(ctx, message); err != nil {
				return err
			}
		}
		return nil
	}
	if err := through(time.Now().Add(j.Round / 4)); err != nil {
		return nil, err
	}
	start, before, used := time.Now(), received.Load(), processorOf(j.Process)
	if err := through(start.Add(j.Round)); err != nil {
		return nil, err
	}
	n := float64(received.Load() - before)
	v := values{wall: float64(time.Since(start)) / n, cpuTime: float64(processorOf(j.Process)-used) / n, peak: residentOf(j.Process, "VmHWM:")}
	return v, wait(sent.Load())
}

// processorOf returns the processor time of a process, according to the Linux scheduler; 0 on other
// systems.
func processorOf(pid int) (used time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, t := range threads {
		text, _ := os.ReadFile(t)
		if fields := strings.Fields(string(text)); len(fields) > 0 {
			ns, _ := strconv.ParseInt(fields[0], 10, 64)
			used += time.Duration(ns)
		}
	}
	return used
}
