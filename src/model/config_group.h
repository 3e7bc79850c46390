/* Folders of configurations: a group is a folder, an option a file in it. */
#ifndef TTT_MODEL_CONFIG_GROUP_H
#define TTT_MODEL_CONFIG_GROUP_H

#include "model/config_yaml.h"

bool group_exists(const char *config_dir, const char *group);
/* Reads CONFIG_DIR/GROUP/OPTION.yaml. An option that is not there names the nearest and some of
 * those that are. NULL on failure. */
YamlDoc *group_read(const char *config_dir, const char *group, const char *option, Err *err);

#endif
