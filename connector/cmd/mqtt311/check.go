package main

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/mqtt311/mqtt311/connector"
	"github.com/mqtt311/mqtt311/connector/config"
	"github.com/spf13/cobra"
)

func (p *program) check() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Check a connector's configuration",
		Long: `Check a connector's configuration: every mistake and every warning, each with its place
and what to do. Mistakes end with exit code 2, warnings alone with 0.`,
		Example: `  mqtt311 check -c connector.yaml
  mqtt311 check -c connector.yaml --json --lang zh`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if file == "" {
				return usage("--config is missing")
			}
			_, findings, err := config.Load(file)
			mistakes := p.printFindings(p.stdout, file, findings)
			var known *connector.ConfigError
			if errors.As(err, &known) {
				err = fmt.Errorf("%d mistakes in %s", mistakes, file)
			}
			if err == nil && len(findings) == 0 && !p.json {
				fmt.Fprintln(p.stdout, file+": nothing to object")
			}
			return coded(exitUsage, err)
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "YAML or JSON `file`")
	return cmd
}

func (p *program) version() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  mqtt311 version --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version := "(devel)"
			if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
				version = info.Main.Version
			}
			if p.json {
				return p.jsonLine(map[string]string{"version": version, "protocol": "MQTT 3.1.1", "go": runtime.Version()})
			}
			_, err := fmt.Fprintf(p.stdout, "mqtt311 %s, MQTT 3.1.1, %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
