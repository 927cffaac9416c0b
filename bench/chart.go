package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A chart shows a quantity from the tables whose names begin with a prefix, as bars.
type chart struct {
	file, title string
	prefix      string
	tables      []string // some of those tables; empty: all
	who         []string
	quantity    string
	unit        float64
}

var charts = []chart{
	{"readme.svg", "µs of processor time a message", "clients: ", []string{"publish QoS 1", "receive QoS 1", "publish QoS 2", "receive QoS 2"}, []string{ours, paho, atwat}, cpuTime, 1e3},
	{"readme.zh.svg", "每条消息的处理器时间（微秒）", "clients: ", []string{"publish QoS 1", "receive QoS 1", "publish QoS 2", "receive QoS 2"}, []string{ours, paho, atwat}, cpuTime, 1e3},
	{"codec-encode.svg", "Encode: ns of processor time", "codec: encode ", nil, []string{ours, paho, mochi, limit}, cpuTime, 1},
	{"codec-decode.svg", "Decode: ns of processor time", "codec: decode ", nil, []string{ours, paho, mochi, limit}, cpuTime, 1},
	{"clients.svg", "Clients: µs of processor time a message", "clients: ", nil, []string{ours, paho, atwat, limit1, limit100}, cpuTime, 1e3},
	{"servers.svg", "Through a real server: µs of processor time a message", "servers: ", nil, []string{ours, paho, atwat, limit1, limit100}, cpuTime, 1e3},
	{"store.svg", "Stores: µs a message", "store: ", nil, []string{ours, bolt, files}, wall, 1e3},
	{"idle.svg", "Idle connection: KiB of heap and stack", "idle: ", nil, []string{ours, paho, atwat, limit}, memory, 1024},
}

// kinds are colours that colour-blind readers can distinguish, too.
var kinds = map[string]string{
	ours: "ours", paho: "peer1", atwat: "peer2", mochi: "peer3", bolt: "peer1", files: "peer2",
	limit: "limit1", limit1: "limit1", limit100: "limit2",
}

// draw draws the chart if its tables were measured.
func (c chart) draw(r *results, dir string) error {
	var groups []group
	for i := range r.Tables {
		name, ok := strings.CutPrefix(r.Tables[i].Name, c.prefix)
		if !ok || c.tables != nil && !slices.Contains(c.tables, name) {
			continue
		}
		g := group{name: c.words().Replace(name)}
		for _, who := range c.who {
			if x := r.Tables[i].get(who, c.quantity).Median / c.unit; !math.IsNaN(x) { // NaN: nobody measured it
				g.bars = append(g.bars, bar{who, x, kinds[who]})
			}
		}
		groups = append(groups, g)
	}
	if len(groups) == 0 {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, c.file), []byte(picture(c.title, groups, c.note())), 0o644)
}

func (c chart) chinese() bool { return strings.HasSuffix(c.file, ".zh.svg") }

func (c chart) words() *strings.Replacer {
	if c.chinese() {
		return strings.NewReplacer("publish", "发布", "receive", "接收")
	}
	return strings.NewReplacer()
}

func (c chart) note() [2]string {
	if c.chinese() {
		return inChinese
	}
	return inEnglish
}
