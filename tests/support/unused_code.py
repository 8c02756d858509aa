"""Names that vulture reports as unused, each with its caller.

`make check` fails on what is neither used nor named here. A name that nothing defines any more is
to be removed.
"""

from typing import Any

_: Any = None

_.public_key_auth_supported  # asyncssh
_.validate_public_key  # asyncssh
_.GROUP_CHANGED  # backoffice/accounts/admin.py, by name
_.GROUP_CREATED  # backoffice/accounts/admin.py, by name
_.ORG_CHANGED  # backoffice/accounts/admin.py, by name
_.ORG_CREATED  # backoffice/accounts/admin.py, by name
_.USER_CHANGED  # backoffice/accounts/admin.py, by name
_.USER_CREATED  # backoffice/accounts/admin.py, by name
_.says  # backoffice/acks/admin.py, by name
_.PUSH  # Batch.Action, by value
_.REJECT  # Batch.Action, by value
_.RETRY  # Batch.Action, by value
_.cancelled  # the count of a batch: serialized by name
_.connector_metadata  # callers of the guide's export()
_.error_message  # callers of the guide's export()
_.DropzoneJsonV1Connector  # connectors/registry.py, by name
_.APPEND_SLASH  # Django or a library, as a setting
_.AUTH_PASSWORD_VALIDATORS  # Django or a library, as a setting
_.AUTH_USER_MODEL  # Django or a library, as a setting
_.CSRF_COOKIE_SECURE  # Django or a library, as a setting
_.CSRF_TRUSTED_ORIGINS  # Django or a library, as a setting
_.DATA_UPLOAD_MAX_MEMORY_SIZE  # Django or a library, as a setting
_.DATA_UPLOAD_MAX_NUMBER_FIELDS  # Django or a library, as a setting
_.DEFAULT_AUTO_FIELD  # Django or a library, as a setting
_.DEFAULT_FROM_EMAIL  # Django or a library, as a setting
_.EMAIL_TIMEOUT  # Django or a library, as a setting
_.ENVIRON  # Django or a library, as a setting
_.FORMAT_MODULE_PATH  # Django or a library, as a setting
_.INSTALLED_APPS  # Django or a library, as a setting
_.LANGUAGE_CODE  # Django or a library, as a setting
_.LOGGING  # Django or a library, as a setting
_.MIDDLEWARE  # Django or a library, as a setting
_.REST_FRAMEWORK  # Django or a library, as a setting
_.ROOT_URLCONF  # Django or a library, as a setting
_.SECURE_HSTS_INCLUDE_SUBDOMAINS  # Django or a library, as a setting
_.SECURE_HSTS_PRELOAD  # Django or a library, as a setting
_.SECURE_HSTS_SECONDS  # Django or a library, as a setting
_.SECURE_SSL_REDIRECT  # Django or a library, as a setting
_.SESSION_COOKIE_AGE  # Django or a library, as a setting
_.SESSION_COOKIE_SECURE  # Django or a library, as a setting
_.SESSION_ENGINE  # Django or a library, as a setting
_.SPECTACULAR_SETTINGS  # Django or a library, as a setting
_.STATICFILES_DIRS  # Django or a library, as a setting
_.STATIC_ROOT  # Django or a library, as a setting
_.STATIC_URL  # Django or a library, as a setting
_.STORAGES  # Django or a library, as a setting
_.TEMPLATES  # Django or a library, as a setting
_.TIME_ZONE  # Django or a library, as a setting
_.USE_I18N  # Django or a library, as a setting
_.WSGI_APPLICATION  # Django or a library, as a setting
_.X_FRAME_OPTIONS  # Django or a library, as a setting
_.authenticate  # Django REST framework
_.authenticate_header  # Django REST framework
_.authentication_classes  # Django REST framework
_.get_attribute  # Django REST framework
_.get_paginated_response_schema  # Django REST framework
_.has_permission  # Django REST framework
_.partial_update  # Django REST framework
_.retrieve  # Django REST framework
_.serializer_class  # Django REST framework
_.ack_deadline_seconds  # Django REST framework's serializers
_.cancelled_by  # Django REST framework's serializers
_.extra_kwargs  # Django REST framework's serializers
_.get_blocking_reasons  # Django REST framework's serializers
_.get_content_sha256  # Django REST framework's serializers
_.get_detail  # Django REST framework's serializers
_.get_is_lost  # Django REST framework's serializers
_.get_ready  # Django REST framework's serializers
_.get_warnings  # Django REST framework's serializers
_.read_only_fields  # Django REST framework's serializers
_.sent_evidence  # Django REST framework's serializers
_.validate  # Django REST framework's serializers
_.validate_ack_deadline_seconds  # Django REST framework's serializers
_.validate_connector_type  # Django REST framework's serializers
_.validate_filter  # Django REST framework's serializers
_.validate_lines  # Django REST framework's serializers
_.validate_orders  # Django REST framework's serializers
_.waiting_for  # Django REST framework's serializers
_.ApiSchema  # Django REST framework, by settings
_.BearerTokenAuthentication  # Django REST framework, by settings
_.DeclaredPermission  # Django REST framework, by settings
_.ExactJSONParser  # Django REST framework, by settings
_.KeysetPagination  # Django REST framework, by settings
_.StrictFilterBackend  # Django REST framework, by settings
_.problem_details  # Django REST framework, by settings
_.parents  # Django REST framework, from the path
_.Media  # Django's admin
_.actions  # Django's admin
_.can_delete  # Django's admin
_.clean_confirmation  # Django's admin
_.clean_url  # Django's admin
_.delete_queryset  # Django's admin
_.field_choices  # Django's admin
_.formfield_overrides  # Django's admin
_.full_result_count  # Django's admin
_.get_changelist  # Django's admin
_.get_fields  # Django's admin
_.get_fieldsets  # Django's admin
_.get_inlines  # Django's admin
_.has_add_permission  # Django's admin
_.has_approve_permission  # Django's admin
_.has_delete_permission  # Django's admin
_.has_module_permission  # Django's admin
_.has_push_permission  # Django's admin
_.help_texts  # Django's admin
_.list_display_links  # Django's admin
_.list_filter  # Django's admin
_.list_max_show_all  # Django's admin
_.list_per_page  # Django's admin
_.lookup_allowed  # Django's admin
_.paginator  # Django's admin
_.post_url_continue  # Django's admin
_.prepopulated_fields  # Django's admin
_.readonly_fields  # Django's admin
_.response_add  # Django's admin
_.response_post_save_add  # Django's admin
_.search_fields  # Django's admin
_.search_help_text  # Django's admin
_.show_facets  # Django's admin
_.show_full_result_count  # Django's admin
_.index_title  # Django's admin site
_.login_form  # Django's admin site
_.site_url  # Django's admin site
_.current_app  # Django's admin templates
_.js  # Django's admin, of Media
_.backoffice  # Django's autodiscovery, through backoffice/admin.py
_.models_module  # Django's create_permissions
_.disabled  # Django's form fields
_.help_text  # Django's form fields
_.prepare_value  # Django's form fields
_.q  # Django's forms, as a field
_.default_error_messages  # Django's formsets
_.max_num  # Django's formsets
_.expression  # Django's model field
_.from_db_value  # Django's model field
_.get_db_prep_save  # Django's model field
_._stream  # Django's request
_._session_key  # Django's session store
_.aclear_expired  # Django's session store
_.aload  # Django's session store
_.as_sqlite  # Django's SQL compiler
_.output_field  # Django's SQL compiler
_.http_method_names  # Django's views
_.bad_request  # Django, as handler400
_.StatementTimeouts  # Django, as middleware
_.health_middleware  # Django, as middleware
_.receive  # Django, as middleware
_.request_context  # Django, as middleware
_.DATETIME_FORMAT  # Django, by FORMAT_MODULE_PATH
_.DATE_FORMAT  # Django, by FORMAT_MODULE_PATH
_.SHORT_DATETIME_FORMAT  # Django, by FORMAT_MODULE_PATH
_.SHORT_DATE_FORMAT  # Django, by FORMAT_MODULE_PATH
_.TIME_FORMAT  # Django, by FORMAT_MODULE_PATH
_.AccountsConfig  # Django, by INSTALLED_APPS
_.ApiConfig  # Django, by INSTALLED_APPS
_.BackofficeConfig  # Django, by INSTALLED_APPS
_.ConnectorsConfig  # Django, by INSTALLED_APPS
_.ExportsConfig  # Django, by INSTALLED_APPS
_.NotificationsConfig  # Django, by INSTALLED_APPS
_.OrdersConfig  # Django, by INSTALLED_APPS
_.SimulatorConfig  # Django, by INSTALLED_APPS
_.WorkerConfig  # Django, by INSTALLED_APPS
_.OrderflowAdminSite  # Django, by orderflow/apps.py
_.OrderflowAdminConfig  # Django, by settings
_.process_exception  # Django, of a middleware
_.abstract  # Django, of a model's Meta
_.constraints  # Django, of a model's Meta
_.default_permissions  # Django, of a model's Meta
_.indexes  # Django, of a model's Meta
_.urlpatterns  # Django, of a URLconf
_.default_site  # Django, of its AdminConfig
_.handler400  # Django, of the root URLconf
_.created_after  # django-filter
_.created_before  # django-filter
_.field_class  # django-filter
_.filter_created_after  # django-filter
_.filter_updated_before  # django-filter
_.filter_within_org  # django-filter
_.seen_after  # django-filter
_.seen_before  # django-filter
_.updated_after  # django-filter
_.updated_before  # django-filter
_.count_events  # django-q2, by worker/schedules.py
_.poll_acks  # django-q2, by name
_.retest_connections  # django-q2, by name
_.run_batch  # django-q2, by name
_.test_connection  # django-q2, by name
_.tidy  # django-q2, by worker/schedules.py
_.BearerTokenExtension  # drf-spectacular
_.ConfigurationExtension  # drf-spectacular
_.DecimalExtension  # drf-spectacular
_.TextExtension  # drf-spectacular
_._resolve_path_parameters  # drf-spectacular
_.get_operation_id  # drf-spectacular
_.get_schema_operation_parameters  # drf-spectacular
_.get_security_definition  # drf-spectacular
_.get_summary  # drf-spectacular
_.map_serializer_field  # drf-spectacular
_.target_class  # drf-spectacular
_.add_parts  # drf-spectacular, by settings
_.updated_at  # lists of changes, as a column
_.IdsFilter  # logging, by settings
_.Command  # manage.py
_.add_arguments  # manage.py
_.requires_system_checks  # manage.py
_.grant  # migrations
_.schema_editor  # migrations, through RunPython
_.created_by  # msgspec, as a member of the document
_.export_version  # msgspec, as a member of the document
_.org_slug  # msgspec, as a member of the document
_.auth_handler  # paramiko
_.auth_timeout  # paramiko
_.banner_timeout  # paramiko
_.channel_timeout  # paramiko
_.ensure_session  # paramiko
_.handshake_timeout  # paramiko
_._parse_disconnect  # paramiko, for a message
_.collect  # prometheus_client
_.exc_info  # Python, at the end of a with block
_.is_history  # templates/admin/change_form_object_tools.html
_.is_said_of_all  # templates/admin/exports/erpexport/failures.html
_.newest  # templates/admin/exports/erpexport/failures.html
_.concerns_connection  # templates/admin/exports/outlook.html
_.drawing  # templates/admin/chart.html
_.peak  # templates/admin/chart.html
_.MemoryFolder  # tests, as the shipped double of a folder
_.legal_steps  # tests and chaos, to check histories
_.aexport  # the guide's await
_.archived_at  # the ORM, as a column
_.claimed_at  # the ORM, as a column
_.disabled_reason  # the ORM, as a column
_.ends_at  # the ORM, as a column
_.events_pruned_at  # the ORM, as a column
_.gets_mail  # the ORM, as a column
_.keep_acks_days  # the ORM, as a column
_.keep_archive_days  # the ORM, as a column
_.keep_events_days  # the ORM, as a column
_.keep_payloads_days  # the ORM, as a column
_.lease_until  # the ORM, as a column
_.mail_due_at  # the ORM, as a column
_.mailed_at  # the ORM, as a column
_.poll_due_at  # the ORM, as a column
_.poll_enqueued_at  # the ORM, as a column
_.processes  # the ORM, as a column
_.revoked_at  # the ORM, as a column
_.enqueued_at  # the ORM, as a column
_.secret_set_by  # the ORM, as a column
_.cleaned_up_at  # the ORM, as a column
_.trailing_slash  # the router
_.open_acks  # templates/admin/connectors/erpconnection/state.html
_.key_length  # cryptography, as a member of a DER sequence
_.salt  # cryptography, as a member of a DER sequence
