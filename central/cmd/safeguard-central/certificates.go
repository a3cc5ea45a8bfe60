package main

import (
	"context"
	"errors"
	"io"
	"os"
	"time"

	"github.com/safeguard-edge/safeguard"
	"github.com/safeguard-edge/safeguard/central"
	"github.com/safeguard-edge/safeguard/central/identity"
)

type enrolCommands struct {
	Token struct {
		operator
		Organisation safeguard.ODSCode `xor:"whom" placeholder:"RX1" help:"For an agent of this organisation; needs --site."`
		Site         safeguard.ODSCode `placeholder:"RX101" help:"The site that the agent serves, as 'site add' has it."`
		Authority    safeguard.ODSCode `xor:"whom" placeholder:"906" help:"For the system of this local authority."`
		Operator     safeguard.ODSCode `xor:"whom" placeholder:"CODE" help:"For an operator who works for this organisation; needs --id."`
		ID           string            `name:"id" placeholder:"NAME" help:"Tells several of one organisation apart: letters, digits, - _ and dots. Without it, the site's code, or 'main'. Enrolling the same again revokes what it had."`
		Life         time.Duration     `default:"72h" help:"How long the token may be used, once."`
		Address      []string          `placeholder:"HOST:PORT" help:"Where the caller dials; may be repeated, for a standby. Without it, public_address and public_others of the configuration."`
		Output       string            `type:"path" placeholder:"FILE" help:"A new file for the token; without it, standard output."`
	} `cmd:"" help:"Make a token with which one host enrols, once. It is a secret, and kept nowhere else."`
	Tokens struct {
		operator
		JSON bool `help:"Write JSON."`
	} `cmd:"" help:"List the tokens: for whom, and whether they are used."`
	Withdraw struct {
		operator
		Token string `arg:"" help:"As 'enrol tokens' names it."`
	} `cmd:"" help:"End a token that is not used."`
	Certificate struct {
		TokenFile string `required:"" type:"path" placeholder:"FILE" help:"The token; the file is removed when it has done its work."`
		placed
	} `cmd:"" help:"Get the first certificate of a local authority's system, or of an operator, with a token. The key is made here, and stays here."`
}

// placed are the files of who is enrolled.
type placed struct {
	Cert string `required:"" type:"path" placeholder:"FILE" help:"The certificate, PEM."`
	Key  string `required:"" type:"path" placeholder:"FILE" help:"Its key, PEM, for the owner only."`
	CA   string `required:"" name:"ca" type:"path" placeholder:"FILE" help:"Whom to trust, PEM."`
}

func (p placed) files() identity.Files {
	return identity.Files{Certificate: p.Cert, Key: p.Key, CA: p.CA}
}

func (c *enrolCommands) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "token":
		return c.token(ctx)
	case "tokens":
		o, err := central.OpenOperator(c.Tokens.Config)
		if err != nil {
			return err
		}
		return o.ListTokens(ctx, c.Tokens.JSON, os.Stdout)
	case "withdraw":
		o, err := central.OpenOperator(c.Withdraw.Config)
		if err != nil {
			return err
		}
		return o.WithdrawToken(ctx, c.Withdraw.Token)
	default:
		return central.Enrol(ctx, c.Certificate.TokenFile, c.Certificate.files(), os.Stdout)
	}
}

func (c *enrolCommands) token(ctx context.Context) (err error) {
	t := c.Token
	e := central.Enrolling{Site: t.Site, Life: t.Life, Addresses: t.Address}
	switch {
	case !t.Organisation.IsZero() && !t.Site.IsZero():
		e.Identity = identity.Identity{Kind: identity.Agent, Code: t.Organisation, ID: t.Site.String()}
	case !t.Authority.IsZero() && t.Site.IsZero():
		e.Identity = identity.Identity{Kind: identity.Authority, Code: t.Authority, ID: "main"}
	case !t.Operator.IsZero() && t.Site.IsZero() && t.ID != "":
		e.Identity = identity.Identity{Kind: identity.Operator, Code: t.Operator}
	default:
		return errors.New("for whom: want --organisation with --site, or --authority, or --operator with --id")
	}
	if t.ID != "" {
		e.Identity.ID = t.ID
	}
	o, err := central.OpenOperator(t.Config)
	if err != nil {
		return err
	}
	return newFile(t.Output, func(out io.Writer) error { return o.MakeToken(ctx, e, out) })
}

type certificateCommands struct {
	List struct {
		operator
		Identity string `placeholder:"URI" help:"Only of this identity, such as spiffe://safeguard/agent/RX1/RX101."`
		All      bool   `help:"Those that have expired or are revoked, too."`
		JSON     bool   `help:"Write JSON."`
	} `cmd:"" help:"List the certificates that the centre has issued."`
	Revoke struct {
		operator
		Serial   string `xor:"which" required:"" placeholder:"HEX" help:"The one with this serial number."`
		Identity string `xor:"which" required:"" placeholder:"URI" help:"All of this identity."`
		File     string `xor:"which" required:"" type:"path" placeholder:"FILE" help:"One that another authority has issued, PEM."`
		Reason   string `required:"" help:"Why. The holder is shown it."`
		JSON     bool   `help:"Write JSON."`
	} `cmd:"" help:"Revoke certificates. Within seconds nothing is done for them any more, and their connections end."`
	Renew struct {
		Server string `required:"" placeholder:"HOST:PORT" help:"Where the centre listens."`
		placed
		IfDue bool `help:"Do nothing before two thirds of its life are over, so that this can be done every day."`
	} `cmd:"" help:"Renew the certificate of a local authority's system, or of an operator."`
}

func (c *certificateCommands) run(ctx context.Context, command string) error {
	switch verb(command) {
	case "list":
		o, err := central.OpenOperator(c.List.Config)
		if err != nil {
			return err
		}
		return o.ListCertificates(ctx, c.List.Identity, c.List.All, c.List.JSON, os.Stdout)
	case "revoke":
		o, err := central.OpenOperator(c.Revoke.Config)
		if err != nil {
			return err
		}
		r := central.Revoking{Serial: c.Revoke.Serial, Identity: c.Revoke.Identity, File: c.Revoke.File, Reason: c.Revoke.Reason}
		return o.Revoke(ctx, r, c.Revoke.JSON, os.Stdout)
	default:
		return central.Renew(ctx, c.Renew.Server, c.Renew.files(), c.Renew.IfDue, os.Stdout)
	}
}

// newIssuer are the flags of what makes an authority.
type newIssuer struct {
	Name  string `default:"Safeguard" help:"Its name; the moment is added."`
	Years int    `default:"10" help:"How long it is valid."`
}

type caCommands struct {
	Init struct {
		operator
		newIssuer
	} `cmd:"" help:"Make the centre's own authority. Its key is sealed in the store."`
	Import struct {
		operator
		Certificate string `required:"" type:"path" placeholder:"FILE" help:"The intermediate's certificate, and any others that lead to the root, PEM."`
		Key         string `required:"" type:"path" placeholder:"FILE" help:"Its key, PKCS #8, PEM. Shred the file afterwards."`
		Root        string `required:"" type:"path" placeholder:"FILE" help:"The root that callers are to trust, PEM."`
	} `cmd:"" help:"Take an intermediate authority of an existing public key infrastructure into use instead, or as the next."`
	Centre struct {
		operator
		Host []string `required:"" placeholder:"NAME" help:"Names or addresses that callers dial; may be repeated."`
	} `cmd:"" help:"Make the certificate that the centre listens with."`
	Show struct {
		operator
		JSON bool `help:"Write JSON."`
	} `cmd:"" help:"Show the authorities, and how many holders of certificates trust all of them."`
	Rotate struct {
		operator
		newIssuer
	} `cmd:"" help:"Make the next authority. It is trusted at once, and issues after 'ca switch'."`
	Switch struct {
		operator
		Force bool `help:"Even though some holders do not trust the next authority: they have to enrol again."`
	} `cmd:"" help:"Let the next authority issue."`
	End struct {
		operator
		Authority string `arg:"" help:"As 'ca show' names it."`
		Force     bool   `help:"Even though good certificates of it are left: their holders have to enrol again."`
	} `cmd:"" help:"End the trust in an authority that issues no more."`
}

func (c *caCommands) run(ctx context.Context, command string) error {
	config := map[string]string{
		"init": c.Init.Config, "import": c.Import.Config, "centre": c.Centre.Config, "show": c.Show.Config,
		"rotate": c.Rotate.Config, "switch": c.Switch.Config, "end": c.End.Config,
	}
	o, err := central.OpenOperator(config[verb(command)])
	if err != nil {
		return err
	}
	switch verb(command) {
	case "init":
		return o.InitCA(ctx, central.NewIssuer(c.Init.newIssuer), os.Stdout)
	case "import":
		return o.ImportCA(ctx, central.Importing{Certificate: c.Import.Certificate, Key: c.Import.Key, Root: c.Import.Root}, os.Stdout)
	case "centre":
		return o.CertifyCentre(ctx, c.Centre.Host, os.Stdout)
	case "show":
		return o.ShowCA(ctx, c.Show.JSON, os.Stdout)
	case "rotate":
		return o.RotateCA(ctx, central.NewIssuer(c.Rotate.newIssuer), os.Stdout)
	case "switch":
		return o.SwitchCA(ctx, c.Switch.Force, os.Stdout)
	default:
		return o.EndCA(ctx, c.End.Authority, c.End.Force, os.Stdout)
	}
}
