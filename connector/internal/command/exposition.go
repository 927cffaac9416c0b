package command

import (
	"bytes"
	"strconv"
	"strings"

	"github.com/mqtt311/mqtt311/connector"
)

// The text format of Prometheus, version 0.0.4. It is written here because the library of Prometheus, which collects
// numbers in many ways that are not needed, takes more time to start than the rest of the command.

const expositionType = "text/plain; version=0.0.4; charset=utf-8"

// A Metric has samples, one for each set of values of its labels.
type Metric struct {
	kind       string
	name, help string
	labels     []string
}

const (
	counter   = "counter"
	gauge     = "gauge"
	histogram = "histogram"
)

func newMetric(kind, name, help string, labels ...string) *Metric {
	return &Metric{kind, name, help, labels}
}

// Gauge and Counter describe metrics of another command. Their names must begin with mqtt_.
func Gauge(name, help string, labels ...string) *Metric {
	return newMetric(gauge, "mqtt_"+name, help, labels...)
}

// Counter describes a counter; see Gauge.
func Counter(name, help string, labels ...string) *Metric {
	return newMetric(counter, "mqtt_"+name, help, labels...)
}

// An Exposition is a list of samples by metric, in the order in which the metrics first appeared.
type Exposition struct {
	order     []*Metric
	samples   map[*Metric]*bytes.Buffer
	partition string // a label of all samples, unless empty
}

// Set adds a sample of a gauge, or of a counter whose values are not integers.
func (e *Exposition) Set(m *Metric, v float64, labels ...string) {
	e.sample(m, "", labels, nil, strconv.FormatFloat(v, 'g', -1, 64))
}

// Count adds a sample of a counter.
func (e *Exposition) Count(m *Metric, n uint64, labels ...string) {
	e.sample(m, "", labels, nil, strconv.FormatUint(n, 10))
}

// observe adds the samples of a histogram, whose buckets are cumulative.
func (e *Exposition) observe(m *Metric, h *connector.Histogram, labels ...string) {
	var below uint64
	for i, bound := range connector.HistogramBounds {
		below += h.Buckets[i]
		le := strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)
		e.sample(m, "_bucket", labels, &le, strconv.FormatUint(below, 10))
	}
	all, inf := strconv.FormatUint(h.Count(), 10), "+Inf"
	e.sample(m, "_bucket", labels, &inf, all)
	e.sample(m, "_sum", labels, nil, strconv.FormatFloat(h.Sum.Seconds(), 'g', -1, 64))
	e.sample(m, "_count", labels, nil, all)
}

// sample adds a line; le is the upper bound of a bucket.
func (e *Exposition) sample(m *Metric, suffix string, labels []string, le *string, value string) {
	b := e.samples[m]
	if b == nil {
		if e.samples == nil {
			e.samples = make(map[*Metric]*bytes.Buffer)
		}
		b = new(bytes.Buffer)
		e.samples[m] = b
		e.order = append(e.order, m)
	}
	b.WriteString(m.name + suffix)
	separator := byte('{')
	label := func(name, value string) {
		b.WriteByte(separator)
		b.WriteString(name + `="` + labelEscapes.Replace(value) + `"`)
		separator = ','
	}
	if e.partition != "" {
		label("partition", e.partition)
	}
	for i, name := range m.labels {
		label(name, labels[i])
	}
	if le != nil {
		label("le", *le)
	}
	if separator == ',' {
		b.WriteByte('}')
	}
	b.WriteString(" " + value + "\n")
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// text returns all samples, with the help and the type of each metric.
func (e *Exposition) text() []byte {
	var out bytes.Buffer
	for _, m := range e.order {
		out.WriteString("# HELP " + m.name + " " + m.help + "\n# TYPE " + m.name + " " + m.kind + "\n")
		out.Write(e.samples[m].Bytes())
	}
	return out.Bytes()
}
