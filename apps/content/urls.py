from django.urls import path

from apps.content.views import blocks, pictures, templates

app_name = "content"
urlpatterns = [
    path("", templates.templates, name="templates"),
    path("new/", templates.template_new, name="new"),
    path("starters/<slug:slug>/preview/", templates.starter_preview, name="starter_preview"),
    path("<int:pk>/", templates.template_edit, name="edit"),
    path("<int:pk>/preview/", templates.template_preview, name="preview"),
    path("<int:pk>/builder/", templates.template_builder, name="builder"),
    path("<int:pk>/mode/", templates.template_mode, name="mode"),
    path("<int:pk>/copy/", templates.template_copy, name="copy"),
    path("<int:pk>/delete/", templates.template_delete, name="delete"),
    path("blocks/", blocks.blocks, name="blocks"),
    path("blocks/new/", blocks.block_new, name="block_new"),
    path("blocks/save/", blocks.block_save, name="block_save"),
    path("blocks/<int:pk>/", blocks.block_edit, name="block"),
    path("blocks/<int:pk>/delete/", blocks.block_delete, name="block_delete"),
    path("media/", pictures.pictures, name="pictures"),
    path("media/picker/", pictures.picker, name="picker"),
    path("media/upload/", pictures.upload, name="upload"),
    path("media/<int:pk>/", pictures.picture, name="picture"),
    path("media/<int:pk>/crop/", pictures.crop, name="crop"),
    path("media/<int:pk>/delete/", pictures.delete, name="picture_delete"),
]
