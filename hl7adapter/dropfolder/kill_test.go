package dropfolder

const victimFolder = "SAFEGUARD_TEST_DROP_FOLDER"

func victim(string) {}
