package command

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	"github.com/mqtt311/mqtt311/connector/ui"
	"github.com/spf13/cobra"
)

// A page holds the options of the page for browsers.
type page struct {
	listen    string
	cert, key string
	hosts     []string
}

// flags adds the options of the page; their names begin with prefix.
func (g *page) flags(p *Program, cmd *cobra.Command, prefix string) {
	f := cmd.Flags()
	f.StringVar(&g.listen, prefix+"listen", "", p.Say("serve the page on this `address` (a free port of 127.0.0.1); others than loopback need a certificate", "在此地址 `address` 提供页面（默认为 127.0.0.1 的空闲端口）；非回环地址需要证书"))
	f.StringVar(&g.cert, prefix+"cert", "", p.Say("certificate of the page, a PEM `file`", "页面的证书，PEM 文件 `file`"))
	f.StringVar(&g.key, prefix+"key", "", p.Say("its key, a PEM `file`", "页面证书的私钥，PEM 文件 `file`"))
	f.StringSliceVar(&g.hosts, prefix+"host", nil, p.Say("a further `name` by which browsers may ask for the page", "浏览器可用于访问页面的其他主机名 `name`"))
	noFiles(cmd, prefix+"listen", prefix+"host")
}

// start serves the page of a configuration.
func (g *page) start(o ui.Options, prefix string) (*ui.Server, error) {
	o.Address, o.Hosts = g.listen, g.hosts
	if (g.cert == "") != (g.key == "") {
		return nil, Usage("--%[1]scert and --%[1]skey belong together", "--%[1]scert 与 --%[1]skey 须同时给出", prefix)
	}
	if g.cert != "" {
		pair, err := tls.LoadX509KeyPair(g.cert, g.key)
		if err != nil {
			return nil, Usage("--%scert: %w", "--%scert：%w", prefix, err)
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	}
	s, err := ui.Start(o)
	if err != nil {
		return nil, Usage("the page: %w", "页面：%w", err)
	}
	return s, nil
}

// tellPage prints the address of the page on standard error at every log level: nobody can guess it.
func (p *Program) tellPage(show *status, url string) {
	if show.on {
		fmt.Fprintln(show, p.openPage(url))
		return
	}
	line := json.NewEncoder(show)
	line.SetEscapeHTML(false) // people copy the address
	line.Encode(map[string]string{"level": "INFO", "msg": p.Say("page", "页面"), "url": p.pageAddress(url)})
}

// openPage returns the text that asks the user to open the page.
func (p *Program) openPage(url string) string {
	return p.Say("Open ", "请在浏览器中打开 ") + p.pageAddress(url)
}

// pageAddress returns the URL of the page in the language of the command: whoever reads Chinese here gets the page
// in Chinese, whatever the browser prefers.
func (p *Program) pageAddress(url string) string { return p.Say(url, url+"&lang=zh") }

// closePage stops serving the page.
func closePage(ctx context.Context, s *ui.Server) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	s.Shutdown(within)
}

func (p *Program) ui() *cobra.Command {
	g, file := new(page), ""
	cmd := &cobra.Command{
		Use:   "ui [-c] FILE",
		Short: p.Say("Show the page of a connector in a browser", "在浏览器中配置连接器"),
		Long: p.Say(`Serve a page for a browser: the configuration with its tabs, what check says about it as one
types, and the connection test. FILE need not be there yet; it is written when Save is
pressed, and the old one is kept beside it. mqtt311 run --ui serves the same page for a
connector that runs.

The address that is printed has a token: whoever has it may do what the page can do. Other
machines do not reach the page unless --listen says so, and then only with TLS.`,
			`提供浏览器页面：按标签页编辑配置，边输入边显示 check 的检查结果，并可测试连接。FILE 可以尚不存在，
按“保存”时写入，原文件会保留在旁边。mqtt311 run --ui 为运行中的连接器提供同样的页面。

输出的地址中含有令牌，持有者可进行页面上的一切操作。除非用 --listen 指定，其他机器无法访问该页面；
指定时必须使用 TLS。`),
		Example: `  mqtt311 ui -c connector.yaml
  mqtt311 ui connector.yaml --listen 0.0.0.0:8443 --cert p.pem --key p.key`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return missingConfig()
			}
			return p.serveUI(cmd.Context(), g, file)
		},
	}
	p.configFlag(cmd, &file)
	g.flags(p, cmd, "")
	EndsInOrder(cmd)
	return cmd
}

func (p *Program) serveUI(ctx context.Context, g *page, file string) error {
	show := p.progress(!p.Quiet)
	defer show.end()
	s, err := g.start(ui.Options{File: file, Logger: p.logTo(show, show.screen, slog.LevelInfo)}, "")
	if err != nil {
		return err
	}
	defer closePage(ctx, s)
	if p.JSON {
		p.JSONLine(map[string]string{"url": s.URL()})
	} else {
		fmt.Fprintln(p.Stdout, p.openPage(s.URL()))
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.Failed():
		return Coded(ExitRuntime, err)
	}
}
