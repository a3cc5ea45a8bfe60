// Package cpisxml reads and writes the messages of the national Child Protection
// Information Sharing service, HL7 v3 in XML: the upload of a local authority
// (REPC_MT000002GB01), and what a centre sends back: its acknowledgement
// (REPC_MT000003GB01), the access-to-service notification (REPC_MT000004GB01)
// and the inactive-number notification (REPC_MT000005GB01).
//
// Reading is tolerant: of the order of elements, of any prefix and wrapper, of
// attributes that the payloads prohibit, of stray blanks. It is not tolerant of
// what could mean something else than it seems to: an element or a null flavour
// that is not known makes a record faulty. No entity is expanded, and depth,
// size of a record and size of what stands between two tags are bounded.
//
// Writing is strict: what the schemas refuse is an error, and nothing that they
// call implied is written.
//
// Source: the schemas CPIS/Schemas and CPIS/TemplateSchemas of
// github.com/nhsdigitalmait/SPINE_schema, and the Domain Message Specification
// 1.0-RC5 of NHS England.
package cpisxml

// The namespaces.
const (
	hl7Space   = "urn:hl7-org:v3"
	npfitSpace = "NPFIT:HL7:Localisation" // of contentId only
	xsiSpace   = "http://www.w3.org/2001/XMLSchema-instance"
)

// The object identifiers.
const (
	oidNHSNumber    = "2.16.840.1.113883.2.1.4.1"
	oidLocalID      = "2.16.840.1.113883.2.1.3.2.4.18.24" // an authority's own number for a person
	oidOrganisation = "2.16.840.1.113883.2.1.3.2.4.19.1"  // ODS code of an organisation
	oidSite         = "2.16.840.1.113883.2.1.3.2.4.19.2"  // ODS code of a site
	oidContent      = "2.16.840.1.113883.2.1.3.2.4.18.16" // names the template that follows
	oidRecordCode   = "2.16.840.1.113883.2.1.3.2.4.17.473"
	oidSystem       = "1.2.826.0.1285.0.2.0.107" // ASID, accredited system
	oidUser         = "1.2.826.0.1285.0.2.0.65"  // SDS user
	oidRoleProfile  = "1.2.826.0.1285.0.2.0.67"  // SDS role profile
)

// JobRoleName is the code system of job roles, such as NR0050 for a consultant.
const JobRoleName = "2.16.840.1.113883.2.1.3.2.4.17.124"

// FileCode is the verdict on a whole upload (CP-ISUploadFileResponse,
// 2.16.840.1.113883.2.1.3.2.4.17.474).
type FileCode string

// The file codes.
const (
	FileError       FileCode = "CPF01" // corrupt, or not well formed
	FileLoaded      FileCode = "CPF02" // all of it
	FilePartial     FileCode = "CPF03" // valid records loaded, invalid ones refused
	FileNone        FileCode = "CPF04" // nothing of it
	FileUnavailable FileCode = "CPF05" // the demographic service can not be asked: send again
	FileVersion     FileCode = "CPF06" // the sender's program is not supported any more
)

var fileNames = map[FileCode]string{
	FileError:       "File Level Error",
	FileLoaded:      "Successful File Upload",
	FilePartial:     "Partial File Upload",
	FileNone:        "Unsuccessful File Upload",
	FileUnavailable: "PDS Error - PDS Unavailable",
	FileVersion:     "Spine ii rejected the request because this version of the CPIS Client is no longer supported",
}

// RecordCode is the verdict on one record (CP-ISUploadRecordResponse).
type RecordCode string

// The record codes.
const (
	RecordNotFound    RecordCode = "CPR01"
	RecordSensitive   RecordCode = "CPR02"
	RecordNotVerified RecordCode = "CPR03"
	RecordFormat      RecordCode = "CPR04"
	RecordSuperseded  RecordCode = "CPR05"
	RecordLoaded      RecordCode = "CPR06"
	RecordRefused     RecordCode = "CPR07" // for any other reason
)

var recordNames = map[RecordCode]string{
	RecordNotFound:    "PDS Error - No Match Found for NHS Number",
	RecordSensitive:   "PDS Error - NHS Number Matched, but Sensitive Record",
	RecordNotVerified: "PDS Error - NHS Number not Verified",
	RecordFormat:      "PDS Error - NHS Number Format Incorrect",
	RecordSuperseded:  "PDS Error - NHS Number Verified, but Superseded",
	RecordLoaded:      "Successful Record Upload",
	RecordRefused:     "Unsucessful Record Upload", // as the schema spells it
}
