// Controlplane runs one part of a Kubernetes control plane for the tests: etcd, the API server or
// the controller manager. One program holds all three, because they share most of their packages.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

var commands = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
}

func main() {
	if len(os.Args) < 2 {
		fail("usage: controlplane etcd|kube-apiserver|kube-controller-manager [flags]")
	}
	name := os.Args[1]
	// Each part parses os.Args itself, and the flags of the three differ.
	os.Args = append([]string{name}, os.Args[2:]...)
	if name == "etcd" {
		stop := make(chan os.Signal, 1)
		signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
		if err := runEtcd(os.Args[1:], stop); err != nil {
			fail(err.Error())
		}
		return
	}
	newCommand, known := commands[name]
	if !known {
		fail("no part is called " + name)
	}
	os.Exit(cli.Run(newCommand()))
}

func fail(reason string) {
	fmt.Fprintln(os.Stderr, reason)
	os.Exit(2)
}
