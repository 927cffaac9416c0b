package verbs

import (
	"encoding/hex"
	"time"

	"github.com/mqtt311/mqtt311/connector/internal/command"
	"github.com/mqtt311/mqtt311/connector/internal/explain"
)

// The JSON output of explain.
type (
	codeLine struct {
		Code  string     `json:"code"`
		Means string     `json:"means"`
		Do    string     `json:"do,omitempty"`
		Facts []string   `json:"facts,omitempty"`
		Cases []caseLine `json:"cases,omitempty"`
	}
	caseLine struct {
		Says string `json:"says"`
		Do   string `json:"do"`
	}

	connectionLine struct {
		Connection int        `json:"connection,omitempty"`
		Transport  string     `json:"transport,omitempty"`
		Client     string     `json:"client,omitempty"`
		Server     string     `json:"server,omitempty"`
		Partial    bool       `json:"partial,omitempty"`
		At         *time.Time `json:"at,omitempty"`
		From       string     `json:"from,omitempty"` // client or server
	}
	packetLine struct {
		connectionLine
		Offset   int64         `json:"offset"` // in the stream
		Type     string        `json:"type"`
		Size     int64         `json:"size"`
		Missing  int64         `json:"missing,omitempty"`
		Summary  string        `json:"summary,omitempty"`
		Fields   []fieldLine   `json:"fields,omitempty"`
		Findings []findingJSON `json:"findings,omitempty"`
	}
	fieldLine struct {
		Offset int    `json:"offset"` // in the packet
		Length int    `json:"length"`
		Hex    string `json:"hex,omitempty"` // the first 16 bytes
		Name   string `json:"name"`
		Value  string `json:"value"`
	}
	findingJSON struct {
		Fault bool   `json:"fault"`
		Byte  *int   `json:"byte,omitempty"`
		Spec  string `json:"spec,omitempty"`
		Text  string `json:"text"`
	}
	findingLine struct {
		connectionLine
		Finding findingJSON `json:"finding"`
	}
)

func codeLineOf(p *command.Program, e explain.Explanation) codeLine {
	l := codeLine{Code: e.Name, Means: e.Means.In(p.Lang), Do: e.Do.In(p.Lang)}
	for _, f := range e.Facts {
		l.Facts = append(l.Facts, f.In(p.Lang))
	}
	for _, c := range e.Cases {
		l.Cases = append(l.Cases, caseLine{c.Says.In(p.Lang), c.Do.In(p.Lang)})
	}
	return l
}

func connectionOf(e *explain.Event) connectionLine {
	if e == nil {
		return connectionLine{}
	}
	c, from := e.Connection, "client"
	if e.From == explain.Server {
		from = "server"
	}
	return connectionLine{c.Number, string(c.Transport), c.Client.String(), c.Server.String(), c.Partial, &e.At, from}
}

func (x *explaining) packetLine(e *explain.Event, p explain.Packet) packetLine {
	l := packetLine{connectionLine: connectionOf(e), Offset: p.Offset, Type: p.Type.String(), Size: p.Size, Missing: p.Missing, Summary: p.Summary}
	if !x.brief {
		for _, f := range p.Fields {
			l.Fields = append(l.Fields, fieldLine{f.Offset, f.Length, hex.EncodeToString(f.Bytes), f.Name.In(x.p.Lang), f.Value.In(x.p.Lang)})
		}
	}
	for _, f := range p.Findings {
		l.Findings = append(l.Findings, x.findingJSON(f))
	}
	return l
}

func (x *explaining) findingJSON(f explain.Finding) findingJSON {
	l := findingJSON{Fault: f.Fault, Spec: f.Spec, Text: f.In(x.p.Lang)}
	if f.Offset >= 0 {
		l.Byte = &f.Offset
	}
	return l
}

func (x *explaining) findingLine(e *explain.Event, f explain.Finding) findingLine {
	return findingLine{connectionOf(e), x.findingJSON(f)}
}
