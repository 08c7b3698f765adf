//go:build tools

// Package pulumi pins the Pulumi command line, which is built from here where it cannot be installed:
// go build github.com/pulumi/pulumi/pkg/v3/cmd/pulumi
package pulumi

import (
	_ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
)
