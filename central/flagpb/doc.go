// Package flagpb is what the agents and the local authorities' systems say to
// the centre: safeguard.proto and the code generated from it. Only
// central/client and central/server import it; everything else speaks the types
// of the domain.
package flagpb

//go:generate ./generate.sh
