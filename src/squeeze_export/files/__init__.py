"""Files and folders of the user: which are pictures, and which are litter."""
